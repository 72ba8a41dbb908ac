//! A line as one JSON object.

use serde_json::{Map, Number, Value as Json};

use super::{
    Origin, civil,
    line::{Line, Value},
};

/// Names that a line has already; a field of the event that is called so gets an underscore.
const TAKEN: [&str; 12] = [
    "timestamp",
    "level",
    "logger",
    "message",
    "service",
    "instance",
    "trace_id",
    "span_id",
    "correlation_id",
    "span",
    "fields_left_out",
    // Whoever has a run by hand says so in a field of this name, which is as good as ours.
    "run_id",
];

pub(super) fn rendered(line: &Line<'_>, origin: &Origin) -> Vec<u8> {
    let mut object = Map::new();
    let mut put = |name: &str, value: String| object.insert(name.to_owned(), Json::String(value));
    put("timestamp", civil::text(line.at));
    put("level", line.level.as_str().to_owned());
    put("logger", line.logger.to_owned());
    put("message", line.said.message.clone());
    let ids = &line.ids;
    if let Some(trace) = ids.trace {
        put("trace_id", format!("{trace:032x}"));
    }
    if let Some(span) = ids.span {
        put("span_id", format!("{span:016x}"));
    }
    if let Some(id) = &ids.correlation {
        put("correlation_id", id.as_str().to_owned());
    }
    if let Some(id) = ids.run {
        put("run_id", id.to_string());
    }
    put("service", origin.service.clone());
    put("instance", origin.instance.clone());
    if let Some(span) = line.span {
        put("span", span.to_owned());
    }
    for (name, value) in &line.said.fields {
        let name = field_name(name, |name| object.contains_key(name));
        object.insert(name, json(value));
    }
    if line.said.left_out > 0 {
        object.insert("fields_left_out".to_owned(), line.said.left_out.into());
    }
    serde_json::to_vec(&object).unwrap_or_default()
}

/// What a field is called beside the names of a line.
fn field_name(name: &str, is_there: impl Fn(&str) -> bool) -> String {
    let by_hand = name == "run_id" && !is_there(name);
    if TAKEN.contains(&name) && !by_hand { format!("{name}_") } else { name.to_owned() }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Signed(value) => (*value).into(),
        Value::Unsigned(value) => (*value).into(),
        // JSON has no number for what is not finite.
        Value::Float(value) => {
            Number::from_f64(*value).map_or_else(|| value.to_string().into(), Json::Number)
        }
        Value::Text(value) => value.as_str().into(),
    }
}
