//! A Postgres of one test's own, which it may kill and pause.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A server, which ends when this process lets go of its standard input.
pub(crate) struct Postgres {
    server: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) url: String,
}

/// An open transaction.
pub(crate) struct Held {
    _client: Client,
    // Whose end closes the connection.
    _runtime: tokio::runtime::Runtime,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let script =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres"));
        let mut server = Command::new(script)
            .arg("--commands")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/private-postgres starts");
        let commands = server.stdin.take();
        let mut answers = BufReader::new(server.stdout.take().unwrap());
        let mut url = String::new();
        answers.read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "no server: {url:?}");
        Self { server, commands, answers, url: url.trim().to_owned() }
    }

    /// `kill`, `start`, `pause` or `resume`; returns when it is done.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands.as_ref().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), command);
    }

    /// The rows of a query, their columns joined by `|`, NULL as `-`.
    pub(crate) fn query(&self, query: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
            let driver = tokio::spawn(connection);
            let messages = client.simple_query(query).await;
            drop(client);
            driver.await.unwrap().unwrap();
            let messages = messages.unwrap_or_else(|error| panic!("{query}: {error:?}"));
            let rows = messages.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("-"));
                    Some(cells.collect::<Vec<_>>().join("|"))
                }
                _ => None,
            });
            rows.collect()
        })
    }

    /// Runs a statement in a transaction that stays open until the answer is dropped.
    pub(crate) fn hold(&self, statement: &str) -> Held {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("BEGIN; {statement}")).await.unwrap();
            client
        });
        Held { _client: client, _runtime: runtime }
    }

    /// The ids of all rows of a class; each is there once, as its table's key says.
    pub(crate) fn ids(&self, class: &str) -> BTreeSet<String> {
        let rows = self.query(&format!("SELECT run_id FROM obs.run_{class}"));
        let ids: BTreeSet<_> = rows.iter().cloned().collect();
        assert_eq!(ids.len(), rows.len(), "every row is there once");
        ids
    }
}

impl Postgres {
    /// The same where the schema may not be there yet.
    pub(crate) fn ids_if_any(&self, class: &str) -> BTreeSet<String> {
        let exists = self.query(&format!("SELECT to_regclass('obs.run_{class}') IS NOT NULL"));
        if exists == ["t"] { self.ids(class) } else { BTreeSet::new() }
    }

    /// How many rows of a class there are.
    pub(crate) fn count_if_any(&self, class: &str) -> u64 {
        let exists = self.query(&format!("SELECT to_regclass('obs.run_{class}') IS NOT NULL"));
        match &*exists {
            [yes] if yes == "t" => {
                let rows = self.query(&format!("SELECT count(*) FROM obs.run_{class}"));
                rows[0].parse().unwrap()
            }
            _ => 0,
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.server.wait();
    }
}
