//! Values reach a store as binds: where a statement is put together, everything in it is ours.

use std::{fs, path::Path};

/// A file with statements that are put together.
struct Listed {
    file: &'static str,
    /// `format!` and the like whose text is SQL.
    texts: usize,
    /// Statements that are not written out where they are run.
    handed: usize,
    /// What is put in, which is why no value from outside can be.
    what: &'static str,
}

/// Every one of them, below `crates/obs-persist/src`. A new line, or a greater number, needs a look at what is put in.
const LISTED: [Listed; 11] = [
    listed("postgres/connect.rs", (1, 1), "a mark of 16 hex digits, drawn just before"),
    listed(
        "postgres/erase.rs",
        (3, 4),
        "our timeouts, our periods in seconds, `run_ok`, `run_error` or `audit`",
    ),
    listed("postgres/insert.rs", (0, 8), "our names of tables and columns, the numbers of binds"),
    listed(
        "postgres/partitions.rs",
        (2, 1),
        "the number of a day; the other text is a sentence for an operator",
    ),
    listed("postgres/retention.rs", (1, 1), "`ok` or `error`, the number of a day, microseconds"),
    listed("postgres/schema.rs", (1, 1), "our timeout and the number of our lock"),
    listed(
        "postgres/stored.rs",
        (4, 4),
        "our expression for a session, arrays of integers and of `Uuid`s",
    ),
    listed("sqlite.rs", (1, 3), "`FULL` or `NORMAL`; the layout and the pragmas are constants"),
    listed("sqlite/erase.rs", (0, 1), "nothing: the statement has a name"),
    listed("sqlite/insert.rs", (0, 5), "our names of tables and columns"),
    listed(
        "sqlite/retention.rs",
        (6, 4),
        "our names of tables and columns, conditions of ours, limits",
    ),
];

const fn listed(file: &'static str, (texts, handed): (usize, usize), what: &'static str) -> Listed {
    Listed { file, texts, handed, what }
}

const FORMATS: [&str; 5] = ["format", "format_args", "write", "writeln", "concat"];

const RUNS: [&str; 5] = ["sql", "sql_query", "push_sql", "batch_execute", "simple_query"];

/// A text with one of these words is SQL.
const WORDS: [&str; 24] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE",
    "SET", "RESET", "DO", "CALL", "PRAGMA", "LOCK", "COPY", "TRUNCATE", "VACUUM", "NOTIFY", "FROM",
    "WHERE", "VALUES", "ORDER",
];

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    // A quote that is a character begins no text.
    lines.collect::<Vec<_>>().join("\n").replace("'\"'", "' '")
}

/// What follows each use of a name: behind it there are `between` and a bracket.
fn uses<'a>(code: &'a str, name: &'a str, between: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(name).filter_map(move |(at, _)| {
        let before = &code[..at];
        let is_part = before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let mut rest = code[at + name.len()..].strip_prefix(between)?;
        // The type that a statement answers with.
        if let Some((_, after)) = rest.strip_prefix("::<").and_then(|rest| rest.split_once('>')) {
            rest = after;
        }
        let arguments = rest.trim_start().strip_prefix(['(', '[', '{'])?;
        (!is_part && !before.ends_with("fn ")).then_some(arguments)
    })
}

/// The texts among the arguments that a macro begins with, without the names in braces.
fn texts(arguments: &str) -> String {
    let (mut depth, mut in_text, mut in_braces) = (1, false, false);
    let mut found = String::new();
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_text => {
                characters.next();
            }
            '"' => {
                in_text = !in_text;
                found.push(' ');
            }
            '{' | '}' if in_text => in_braces = character == '{',
            _ if in_text && !in_braces => found.push(character),
            '(' | '[' | '{' if !in_text => depth += 1,
            ')' | ']' | '}' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn is_sql(text: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|word| WORDS.contains(&word))
}

/// How many texts of SQL are put together in a file, and how many statements are not written out where they are run.
fn places(text: &str) -> (usize, usize) {
    let code = code(text);
    let formats = FORMATS.iter().flat_map(|name| uses(&code, name, "!"));
    let runs = RUNS.iter().flat_map(|name| uses(&code, name, ""));
    (
        formats.filter(|arguments| is_sql(&texts(arguments))).count(),
        runs.filter(|arguments| !arguments.trim_start().starts_with('"')).count(),
    )
}

/// The way out, if a file has not what is listed of it.
fn objection(file: &str, text: &str) -> Option<String> {
    let entry = LISTED
        .iter()
        .find(|entry| Path::new("crates/obs-persist/src").join(entry.file) == Path::new(file));
    let listed = entry.map_or((0, 0), |entry| (entry.texts, entry.handed));
    let found = places(text);
    (found != listed).then(|| {
        format!(
            "{file} puts together {} texts of SQL and runs {} statements that are not written out there, but {} and {} \
             are listed{}: bind the value, as in `.bind::<Text, _>(value)`, or list the place in \
             crates/obs/tests/tidy/sql.rs with what is put in",
            found.0,
            found.1,
            listed.0,
            listed.1,
            entry.map_or(String::new(), |entry| format!(" ({})", entry.what)),
        )
    })
}

#[test]
fn no_statement_is_put_together_but_those_that_are_known_to_hold_nothing_from_outside() {
    let root = super::root();
    let mut objections = Vec::new();
    let mut seen = Vec::new();
    for path in super::rust_files() {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let mut parts = file.split('/');
        let is_source = parts.next() == Some("crates") && parts.nth(1) == Some("src");
        if is_source && !parts.any(|part| part == "tests" || part == "tests.rs") {
            objections.extend(objection(&file, &fs::read_to_string(&path).unwrap()));
            seen.push(file);
        }
    }
    let is_seen = |entry: &&Listed| seen.iter().any(|file| file.ends_with(entry.file));
    let gone = LISTED.iter().filter(|entry| !is_seen(entry));
    objections
        .extend(gone.map(|entry| format!("{} is listed and not there: take it off", entry.file)));
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn a_statement_with_a_value_in_it_is_found_however_it_is_written() {
    for (planted, found) in [
        (r#"let query = format!("SELECT run_id FROM obs.run WHERE subject = '{user}'");"#, (1, 0)),
        ("write!(\n    query,\n    \"DELETE FROM run WHERE subject = '{}'\", user)?;", (1, 0)),
        (r#"sql_query(format!("UPDATE run SET subject = '{user}'"))"#, (1, 1)),
        (r#"sql::<Text>(&("SELECT 1".to_owned() + user))"#, (0, 1)),
        ("connection.batch_execute(\n    &statement)", (0, 1)),
        (r#"format!("{SELECT} {}", '"'); format!("{user} is not set");"#, (0, 0)),
        ("// format!(\"SELECT {user}\")\n", (0, 0)),
        (r#"sql_query("DELETE FROM run WHERE subject = ?").bind::<Text, _>(user)"#, (0, 0)),
        ("#[cfg(test)]\nmod tests {\n    format!(\"SELECT {user}\");", (0, 0)),
    ] {
        assert_eq!(places(planted), found, "{planted}");
        let objection = objection("crates/obs-cli/src/main.rs", planted);
        assert_eq!(objection.is_some(), found != (0, 0), "{objection:?}");
    }
    let stale = objection("crates/obs-persist/src/postgres/schema.rs", "").unwrap();
    assert!(
        stale.contains("puts together 0") && stale.contains("but 1 and 1 are listed"),
        "{stale}"
    );
}
