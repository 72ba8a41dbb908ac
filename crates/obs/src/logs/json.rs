//! A line as one JSON object.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Number, Value as Json};

use super::{
    Origin,
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
    let mut object = Object::default();
    object.put("timestamp", &line.at.to_rfc3339());
    object.put("level", line.level.as_str());
    object.put("logger", line.logger);
    object.put("message", &line.said.message);
    let ids = &line.ids;
    if let Some(trace) = ids.trace {
        object.put("trace_id", &format!("{trace:032x}"));
    }
    if let Some(span) = ids.span {
        object.put("span_id", &format!("{span:016x}"));
    }
    if let Some(id) = &ids.correlation {
        object.put("correlation_id", id.as_str());
    }
    if let Some(id) = ids.run {
        object.put("run_id", &id.to_string());
    }
    object.put("service", &origin.service);
    object.put("instance", &origin.instance);
    if let Some(span) = line.span {
        object.put("span", span);
    }
    for (name, value) in &line.said.fields {
        let name = field_name(name, ids.run.is_some());
        object.add(&name, &json(value));
    }
    if line.said.left_out > 0 {
        object.add("fields_left_out", &line.said.left_out.into());
    }
    object.text.push('}');
    object.text.into_bytes()
}

/// An object in the order in which it is written: the time first, as people read it.
#[derive(Default)]
struct Object {
    text: String,
}

impl Object {
    fn put(&mut self, name: &str, value: &str) {
        self.add(name, &Json::String(value.to_owned()));
    }

    fn add(&mut self, name: &str, value: &Json) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        // As JSON, each of them.
        let name = Json::String(name.to_owned());
        let _ = write!(self.text, "{name}:{value}");
    }
}

/// What a field is called beside the names of a line.
fn field_name(name: &str, has_run: bool) -> Cow<'_, str> {
    let by_hand = name == "run_id" && !has_run;
    if TAKEN.contains(&name) && !by_hand { format!("{name}_").into() } else { name.into() }
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
