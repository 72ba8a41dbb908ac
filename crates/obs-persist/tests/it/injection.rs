//! Whatever a text says, it is a value: the schema stays as it is, and no line is forged.

use obs_core::{Json, RunRecord, Status};

use crate::{
    faults::Server,
    support::{Live, count, database, execute, full, postgres},
    worker::{lines, listen},
};

/// How many hostile records are written.
const RECORDS: usize = 500;

const HOSTILE: [&str; 20] = [
    "'; DROP TABLE obs.run_error; --",
    "'); DELETE FROM obs.run_ok; --",
    "\" OR 1=1 --",
    "$1; TRUNCATE obs.run_error CASCADE",
    "$$; DROP SCHEMA obs CASCADE; $$",
    "{\"a\",\"b\"}",
    "{NULL,\\N}",
    "(1,2)",
    "\\'; SELECT pg_sleep(60) --",
    "E'\\x27'",
    "%s%n%x {} {0}",
    "\r\n2026-11-21T00:00:00Z  INFO obs: the store is up",
    "\u{1b}[2J\u{1b}[31mred",
    "\u{202E}gpj.exe\u{2066}",
    "<script>alert(1)</script>",
    "${jndi:ldap://127.0.0.1/x}",
    "../../etc/passwd",
    "NULL",
    "\u{FEFF}\u{200B}",
    "'||(SELECT version())||'",
];

/// A record in which every text is hostile, each in its own way.
fn hostile(number: usize) -> RunRecord {
    let text =
        |field: usize| format!("{}#{number}.{field}", HOSTILE[(number + field) % HOSTILE.len()]);
    let json = |field: usize| {
        let value = serde_json::json!({ text(field): [text(field + 1)] });
        Some(Json::parse(&value.to_string()).unwrap())
    };
    let mut record = full(if number.is_multiple_of(2) { Status::Ok } else { Status::Error });
    record.kind = text(0).into();
    record.realm = Some(text(1).into());
    record.strategy_id = text(2).into();
    record.strategy_version = text(3).into();
    record.strategy_type = Some(text(4).into());
    record.strategy_hash = Some(text(5).into());
    record.subject = Some(text(6).into());
    record.correlation_id = Some(text(7).into());
    record.error_type = Some(text(8).into());
    record.error_message = Some(text(9).into());
    record.error_node = Some(text(10).into());
    record.case_name = Some(text(11).into());
    record.trace_id = Some(text(12).into());
    record.span_id = Some(text(13).into());
    (record.input, record.attributes, record.trace) = (json(14), json(16), json(18));
    record
}

/// Everything that the schema is made of, as one text.
fn schema(url: &str) -> Vec<String> {
    postgres(
        url,
        "SELECT md5(string_agg(concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull), E'\\n' \
         ORDER BY c.relname, a.attnum)), count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'obs'::regnamespace",
    )
}

#[test]
fn five_hundred_hostile_records_are_values_and_change_nothing() {
    listen();
    let url = database();
    let live = Live::open(&url);
    live.submit(full(Status::Ok));
    live.flush();
    let (before, said) = (schema(&url), lines(crate::support::database_name(&url)).len());
    let records: Vec<_> = (0..RECORDS).map(hostile).collect();
    records.iter().for_each(|record| live.submit(record.clone()));
    live.flush();
    assert_eq!(schema(&url), before);
    assert_eq!(
        (count(&url, "obs.run"), count(&url, "obs.run_payload")),
        (RECORDS + 1, RECORDS + 1)
    );
    for record in &records {
        let found = postgres(
            &url,
            &format!(
                "SELECT encode(convert_to(concat(kind, realm, strategy_id, strategy_version, strategy_type, \
                 strategy_hash, subject, correlation_id, error_type, error_message, error_node, case_name, \
                 trace_id, span_id, input, attributes, trace), 'UTF8'), 'hex') \
                 FROM obs.run JOIN obs.run_payload USING (run_id) WHERE run_id = '{}'",
                record.run_id
            ),
        );
        let texts = [
            &*record.kind,
            record.realm.as_deref().unwrap(),
            &record.strategy_id,
            &record.strategy_version,
            record.strategy_type.as_deref().unwrap(),
            record.strategy_hash.as_deref().unwrap(),
            record.subject.as_deref().unwrap(),
            record.correlation_id.as_deref().unwrap(),
            record.error_type.as_deref().unwrap(),
            record.error_message.as_deref().unwrap(),
            record.error_node.as_deref().unwrap(),
            record.case_name.as_deref().unwrap(),
            record.trace_id.as_deref().unwrap(),
            record.span_id.as_deref().unwrap(),
            record.input.as_ref().unwrap().as_str(),
            record.attributes.as_ref().unwrap().as_str(),
            record.trace.as_ref().unwrap().as_str(),
        ];
        let expected: String = texts.concat().bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, [expected], "{record:?}");
    }
    assert_eq!(lines(crate::support::database_name(&url)).len(), said, "no line came of it");
}

/// What the server executes for records of whatever content, at most.
const STATEMENTS_MAX: usize = 12;

#[test]
fn whatever_texts_say_the_server_sees_the_same_few_statements() {
    let server = Server::new(&["shared_preload_libraries=pg_stat_statements"]);
    let url = &server.url;
    execute(url, "CREATE EXTENSION pg_stat_statements");
    let live = Live::open(url);
    for status in [Status::Ok, Status::Error] {
        live.submit(full(status));
    }
    live.flush();
    execute(url, "SELECT pg_stat_statements_reset()");
    (0..RECORDS).map(hostile).for_each(|record| live.submit(record));
    live.flush();
    let seen = postgres(
        url,
        "SELECT DISTINCT query FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'",
    );
    assert!((2..=STATEMENTS_MAX).contains(&seen.len()), "{seen:#?}");
    for text in HOSTILE.iter().filter(|text| text.len() > 8) {
        assert!(!seen.iter().any(|query| query.contains(text)), "{text}: {seen:#?}");
    }
    assert_eq!(count(url, "obs.run"), RECORDS + 2);
}
