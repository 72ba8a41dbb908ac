//! The rows that every side writes, and their columns spelled by hand.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use obs_core::{Json, RunRecord, testing::record};
use tokio_postgres::types::{IsNull, ToSql, Type};

/// Microseconds from 1970 to 2000, where Postgres begins to count.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

pub(crate) const RUN: &str = "run_id, epoch, kind, realm, strategy_id, strategy_version, strategy_type, \
    strategy_hash, subject, correlation_id, parent_run_id, status, error_type, error_message, error_node, \
    value, case_name, started_at, finished_at, duration_ns, nodes, slow, keep_reason, \
    inclusion_probability, sample_rate, trace_id, span_id, slim";

pub(crate) const RUN_TYPES: [&str; 28] = [
    "uuid",
    "uuid",
    "text",
    "text",
    "text",
    "text",
    "text",
    "text",
    "text",
    "text",
    "uuid",
    "text",
    "text",
    "text",
    "text",
    "float8",
    "text",
    "timestamptz",
    "timestamptz",
    "bigint",
    "bigint",
    "bool",
    "text",
    "float8",
    "float8",
    "text",
    "text",
    "bool",
];

pub(crate) const PAYLOAD: &str = "run_id, input, input_bytes, input_truncated, attributes, trace, trace_total, trace_kept, trace_bytes";

pub(crate) const PAYLOAD_TYPES: [&str; 9] =
    ["uuid", "json", "bigint", "bool", "json", "json", "bigint", "bigint", "bigint"];

/// Rows with a trace of 2 KB and an input of 200 bytes, of 200 strategies.
pub(crate) fn rows(count: usize) -> Vec<RunRecord> {
    let entry = |at: usize| {
        format!(
            r#"{{"id":"node-{at}","kind":"compare","ok":true,"value":{{"left":{at}.25,"right":17.5}},"us":{at}}}"#
        )
    };
    let trace: Vec<String> = (0..22).map(entry).collect();
    let trace = Json::parse(&format!("[{}]", trace.join(","))).unwrap();
    let input = format!(r#"{{"magnitude":5.1,"place":"{}","felt":null}}"#, "x".repeat(150));
    let input = Json::parse(&input).unwrap();
    (0..count)
        .map(|at| {
            let mut row = record(&format!("strategy-{}", at % 200), "7");
            row.subject = Some(format!("user-{}", at % 5_000).into());
            row.correlation_id = Some(format!("order-{at}").into());
            row.value = Some(12.5);
            row.nodes = 22;
            row.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
            row.span_id = Some("b7ad6b7169203331".into());
            (row.input, row.input_bytes) = (Some(input.clone()), input.as_str().len() as u64);
            (row.trace, row.trace_bytes) = (Some(trace.clone()), trace.as_str().len() as u64);
            (row.trace_total, row.trace_kept) = (22, 22);
            row
        })
        .collect()
}

/// The bytes of JSON in the rows: what a side wrote is compared with it.
pub(crate) fn trace_bytes(rows: &[RunRecord]) -> u64 {
    rows.iter().map(|row| row.trace_bytes).sum()
}

/// One value as every by-hand side sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Id(&'a uuid::Uuid),
    Text(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Microseconds since 1970.
    Time(i64),
    Null,
}

impl Cell<'_> {
    fn text(text: Option<&str>) -> Cell<'_> {
        text.map_or(Cell::Null, Cell::Text)
    }

    /// Its length and its bytes, as `COPY` and binds want them.
    pub(crate) fn put(self, out: &mut BytesMut) {
        let mut fixed = |bytes: &[u8]| {
            out.put_i32(i32::try_from(bytes.len()).unwrap());
            out.put_slice(bytes);
        };
        match self {
            Self::Id(id) => fixed(id.as_bytes()),
            Self::Text(text) => fixed(text.as_bytes()),
            Self::Integer(number) => fixed(&number.to_be_bytes()),
            Self::Float(number) => fixed(&number.to_be_bytes()),
            Self::Boolean(truth) => fixed(&[u8::from(truth)]),
            Self::Time(micros) => fixed(&(micros - POSTGRES_EPOCH).to_be_bytes()),
            Self::Null => out.put_i32(-1),
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Self::Id(id) => out.put_slice(id.as_bytes()),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Integer(number) => out.put_i64(number),
            Self::Float(number) => out.put_f64(number),
            Self::Boolean(truth) => out.put_u8(u8::from(truth)),
            Self::Time(micros) => out.put_i64(micros - POSTGRES_EPOCH),
            Self::Null => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

pub(crate) fn run_cells(row: &RunRecord) -> [Cell<'_>; 28] {
    [
        Cell::Id(&row.run_id),
        Cell::Id(&row.epoch),
        Cell::Text(&row.kind),
        Cell::text(row.realm.as_deref()),
        Cell::Text(&row.strategy_id),
        Cell::Text(&row.strategy_version),
        Cell::text(row.strategy_type.as_deref()),
        Cell::text(row.strategy_hash.as_deref()),
        Cell::text(row.subject.as_deref()),
        Cell::text(row.correlation_id.as_deref()),
        row.parent_run_id.as_ref().map_or(Cell::Null, Cell::Id),
        Cell::Text(row.status.as_str()),
        Cell::text(row.error_type.as_deref()),
        Cell::text(row.error_message.as_deref()),
        Cell::text(row.error_node.as_deref()),
        row.value.map_or(Cell::Null, Cell::Float),
        Cell::text(row.case_name.as_deref()),
        Cell::Time(row.started_at.as_micros()),
        Cell::Time(row.finished_at.as_micros()),
        Cell::Integer(i64::try_from(row.duration.as_nanos()).unwrap()),
        Cell::Integer(row.nodes.cast_signed()),
        Cell::Boolean(row.slow),
        Cell::Text(row.keep_reason.as_str()),
        Cell::Float(row.inclusion_probability),
        Cell::Float(row.sample_rate),
        Cell::text(row.trace_id.as_deref()),
        Cell::text(row.span_id.as_deref()),
        Cell::Boolean(row.slim),
    ]
}

pub(crate) fn payload_cells(row: &RunRecord) -> [Cell<'_>; 9] {
    [
        Cell::Id(&row.run_id),
        Cell::text(row.input.as_ref().map(Json::as_str)),
        Cell::Integer(row.input_bytes.cast_signed()),
        Cell::Boolean(row.input_truncated),
        Cell::text(row.attributes.as_ref().map(Json::as_str)),
        Cell::text(row.trace.as_ref().map(Json::as_str)),
        Cell::Integer(row.trace_total.cast_signed()),
        Cell::Integer(row.trace_kept.cast_signed()),
        Cell::Integer(row.trace_bytes.cast_signed()),
    ]
}
