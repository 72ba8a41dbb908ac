//! A line as text, for people.

use std::{fmt, fmt::Write as _};

use super::line::{Line, Value};

/// Characters that [`obs_core::Escaped`] shows whole.
const PIECE_CHARS: usize = 1_000;

pub(super) fn rendered(line: &Line<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(256);
    // Writing to a string does not fail.
    let _ = write(&mut text, line);
    text.into_bytes()
}

fn write(text: &mut String, line: &Line<'_>) -> fmt::Result {
    write!(text, "{} {:>5} {}: ", line.at.to_rfc3339(), line.level.as_str(), line.logger)?;
    escape(text, &line.said.message)?;
    for (name, value) in &line.said.fields {
        write!(text, " {name}=")?;
        match value {
            Value::Bool(value) => write!(text, "{value}")?,
            Value::Signed(value) => write!(text, "{value}")?,
            Value::Unsigned(value) => write!(text, "{value}")?,
            Value::Float(value) => write!(text, "{value}")?,
            Value::Text(value) => escape(text, value)?,
        }
    }
    if line.said.left_out > 0 {
        write!(text, " fields_left_out={}", line.said.left_out)?;
    }
    if let Some(span) = line.span {
        write!(text, " span={span}")?;
    }
    if let Some(id) = &line.ids.correlation {
        text.push_str(" correlation_id=");
        escape(text, id.as_str())?;
    }
    if let Some(id) = line.ids.run {
        write!(text, " run_id={id}")?;
    }
    if let Some(trace) = line.ids.trace {
        write!(text, " trace_id={trace:032x}")?;
    }
    Ok(())
}

/// Whole, where [`obs_core::Escaped`] ends after some characters: the limit of a text was applied before.
fn escape(text: &mut String, value: &str) -> fmt::Result {
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(PIECE_CHARS).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        write!(text, "{}", obs_core::Escaped(piece))?;
        rest = after;
    }
    Ok(())
}
