//! The sides that write to Postgres: ours, and what people write by hand.

use std::{
    io::{BufRead, BufReader},
    pin::pin,
    process::{Child, ChildStdin, Command, Stdio},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use obs_core::RunRecord;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, types::ToSql};

use crate::{
    BATCH, WARM_UP,
    measure::{Sample, measure},
    rows::{Cell, PAYLOAD, PAYLOAD_TYPES, RUN, RUN_TYPES, payload_cells, run_cells, trace_bytes},
};

/// A server of our own that keeps its promises, and a by-hand connection to it.
pub(crate) struct Postgres {
    pub(crate) url: String,
    runtime: Runtime,
    client: Client,
    _server: (Child, ChildStdin),
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres");
        let mut server = Command::new(script)
            .args(["-c", "autovacuum=off", "-c", "commit_siblings=0", "-c", "max_wal_size=4GB"])
            .env("OBS_PG_FSYNC", "on")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        let stdin = server.stdin.take().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { url, runtime, client, _server: (server, stdin) }
    }

    pub(crate) fn execute(&self, statement: &str) {
        self.runtime.block_on(self.client.batch_execute(statement)).unwrap();
    }

    /// Empty tables, and no checkpoint due soon.
    pub(crate) fn clear(&self) {
        self.execute("TRUNCATE obs.run_ok, obs.run_ok_payload");
        self.execute("CHECKPOINT");
    }

    /// Every commit takes two milliseconds longer, as on a disk across a network.
    pub(crate) fn slow_commits(&self, slow: bool) {
        let micros = if slow { 2_000 } else { 0 };
        self.execute(&format!("ALTER SYSTEM SET commit_delay = {micros}"));
        self.execute("SELECT pg_reload_conf()");
        // Sessions take it up between two statements.
        let shown = || {
            let row =
                self.runtime.block_on(self.client.query_one("SHOW commit_delay", &[])).unwrap();
            row.get::<_, String>(0)
        };
        while shown() != micros.to_string() {}
    }

    /// Makes rows of today, from its first seconds on, that are as ours without inputs and traces.
    pub(crate) fn make_rows(&self, from: u64, count: u64) {
        let rows = format!(
            "SELECT i, midnight + i / 1000 * interval '1 ms' AS at, (
                 lpad(to_hex((extract(epoch FROM midnight) * 1000)::bigint + i / 1000), 12, '0')
                 || '7' || lpad(to_hex(i % 1000), 3, '0') || '8' || lpad(to_hex(i), 15, '0'))::uuid AS id
             FROM generate_series({from}, {from} + {count} - 1) AS i,
                 (SELECT date_trunc('day', now(), 'UTC')) AS day (midnight)"
        );
        self.execute(&format!(
            "INSERT INTO obs.run_ok ({RUN}) SELECT id, '00000000-0000-0000-0000-000000000000', 'test', 'acme',
                 'strategy-' || i % 200, '7', 'chain', NULL, 'user-' || i % 5000, 'order-' || i, NULL, 'ok', NULL, NULL,
                 NULL, 12.5, NULL, at, at + interval '3 ms', 3000000, 22, false, 'sampled', 0.05, 0.05,
                 '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', false FROM ({rows}) AS row"
        ));
        self.execute(&format!(
            "INSERT INTO obs.run_ok_payload ({PAYLOAD}) SELECT id, NULL, 0, false, NULL, NULL, 22, 0, 0
             FROM ({rows}) AS row"
        ));
    }

    /// How many rows there are in both tables.
    pub(crate) fn count(&self) -> [i64; 2] {
        ["run_ok", "run_ok_payload"].map(|table| {
            let query = format!("SELECT count(*) FROM obs.{table}");
            self.runtime.block_on(self.client.query_one(&query, &[])).unwrap().get(0)
        })
    }

    /// What is in the tables is what was written.
    pub(crate) fn check(&self, side: &str, rows: &[RunRecord]) {
        let query = "SELECT (SELECT count(*) FROM obs.run_ok), count(*), \
                     coalesce(sum(octet_length(trace::text)), 0)::bigint FROM obs.run_ok_payload";
        let row = self.runtime.block_on(self.client.query_one(query, &[])).unwrap();
        let found: [i64; 3] = std::array::from_fn(|at| row.get(at));
        let count = i64::try_from(rows.len()).unwrap();
        let expected = [count, count, trace_bytes(rows).cast_signed()];
        assert_eq!(found, expected, "{side} wrote something else");
    }

    /// `COPY` in binary, two tables in one transaction a batch.
    pub(crate) fn copy(&self, rows: &[RunRecord]) -> Sample {
        self.by_hand(rows, |client, batch| {
            Box::pin(async move {
                let run = encode(
                    batch,
                    |row, out| run_cells(row).iter().for_each(|cell| cell.put(out)),
                    28,
                );
                let payload = encode(
                    batch,
                    |row, out| payload_cells(row).iter().for_each(|cell| cell.put(out)),
                    9,
                );
                client.batch_execute("BEGIN").await.unwrap();
                for (table, columns, bytes) in
                    [("run_ok", RUN, run), ("run_ok_payload", PAYLOAD, payload)]
                {
                    let statement =
                        format!("COPY obs.{table} ({columns}) FROM STDIN (FORMAT binary)");
                    let mut sink = pin!(client.copy_in::<_, Bytes>(&statement).await.unwrap());
                    sink.send(bytes).await.unwrap();
                    sink.finish().await.unwrap();
                }
                client.batch_execute("COMMIT").await.unwrap();
            })
        })
    }

    /// A prepared `INSERT … SELECT FROM UNNEST` for both tables in one statement.
    pub(crate) fn unnest(&self, rows: &[RunRecord]) -> Sample {
        let arrays = |types: &[&str], from: usize| {
            let at = |(at, name): (usize, &&str)| format!("${}::{name}[]", at + from);
            types.iter().enumerate().map(at).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "WITH run AS (INSERT INTO obs.run_ok ({RUN}) SELECT * FROM UNNEST({}) ON CONFLICT (run_id) DO NOTHING) \
             INSERT INTO obs.run_ok_payload ({PAYLOAD}) SELECT * FROM UNNEST($1::uuid[], {}) \
             ON CONFLICT (run_id) DO NOTHING",
            arrays(&RUN_TYPES, 1),
            arrays(&PAYLOAD_TYPES[1..], 29),
        );
        let statement = self.runtime.block_on(self.client.prepare(&text)).unwrap();
        self.by_hand(rows, |client, batch| {
            let statement = statement.clone();
            Box::pin(async move {
                let mut columns: Vec<Vec<Cell<'_>>> =
                    (0..36).map(|_| Vec::with_capacity(batch.len())).collect();
                for row in batch {
                    let payload = payload_cells(row);
                    let cells = run_cells(row).into_iter().chain(payload.into_iter().skip(1));
                    columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
                }
                let binds: Vec<&(dyn ToSql + Sync)> =
                    columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
                client.execute(&statement, &binds).await.unwrap();
            })
        })
    }

    /// A prepared statement a row, each with a commit of its own: both tables at once.
    pub(crate) fn row_by_row(&self, rows: &[RunRecord]) -> Sample {
        let values = |from: usize, count: usize| {
            (from..from + count).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "WITH run AS (INSERT INTO obs.run_ok ({RUN}) VALUES ({}) ON CONFLICT (run_id) DO NOTHING) \
             INSERT INTO obs.run_ok_payload ({PAYLOAD}) VALUES ($1, {}) ON CONFLICT (run_id) DO NOTHING",
            values(1, 28),
            values(29, 8),
        );
        let statement = self.runtime.block_on(self.client.prepare(&text)).unwrap();
        measure(None, rows.len(), || {
            self.runtime.block_on(async {
                for row in rows {
                    let payload = payload_cells(row);
                    let cells: Vec<Cell<'_>> =
                        run_cells(row).into_iter().chain(payload.into_iter().skip(1)).collect();
                    let binds: Vec<&(dyn ToSql + Sync)> =
                        cells.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
                    self.client.execute(&statement, &binds).await.unwrap();
                }
            });
        })
    }

    fn by_hand<'r>(
        &'r self,
        rows: &'r [RunRecord],
        write: impl Fn(&'r Client, &'r [RunRecord]) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'r>>,
    ) -> Sample {
        let write_all = |rows: &'r [RunRecord]| {
            self.runtime.block_on(async {
                for batch in rows.chunks(BATCH) {
                    write(&self.client, batch).await;
                }
            });
        };
        write_all(&rows[..WARM_UP]);
        self.clear();
        measure(None, rows.len(), || write_all(rows))
    }
}

fn encode(batch: &[RunRecord], put: impl Fn(&RunRecord, &mut BytesMut), columns: i16) -> Bytes {
    let mut out = BytesMut::with_capacity(batch.len() * 3_000);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_i32(0);
    out.put_i32(0);
    for row in batch {
        out.put_i16(columns);
        put(row, &mut out);
    }
    out.put_i16(-1);
    out.freeze()
}
