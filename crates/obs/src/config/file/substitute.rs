//! `${NAME}`, `${env:NAME}`, `${NAME:-default}` and `$$`, as OpenTelemetry's specification has them.

use crate::config::Environment;

/// The text with its references replaced, once: what a variable holds is taken as it is.
pub(super) fn substitute(text: &str, environment: &Environment) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    // `$$` first: what stands before and after it is searched apart, so that neither joins the other.
    for (at, part) in text.split("$$").enumerate() {
        if at > 0 {
            replaced.push('$');
        }
        references(part, environment, &mut replaced)?;
    }
    Ok(replaced)
}

fn references(mut text: &str, environment: &Environment, out: &mut String) -> Result<(), String> {
    while let Some(begin) = text.find("${") {
        let (before, rest) = text.split_at(begin);
        out.push_str(before);
        let inside = &rest[2..];
        match inside.find('}') {
            // An empty pair of braces, or one that never ends, is plain text.
            None | Some(0) => {
                out.push_str("${");
                text = inside;
            }
            Some(end) => {
                out.push_str(&value(&inside[..end], environment)?);
                text = &inside[end + 1..];
            }
        }
    }
    out.push_str(text);
    Ok(())
}

fn value(reference: &str, environment: &Environment) -> Result<String, String> {
    let inside = reference.strip_prefix("env:").unwrap_or(reference);
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(
            "not a reference to a variable: write ${NAME}, ${env:NAME} or ${NAME:-default}, and $$ for a dollar sign"
                .to_owned(),
        );
    }
    match environment.raw(name) {
        Some(Err(())) => {
            Err(format!("the variable {name} is not valid UTF-8: set it to plain text"))
        }
        Some(Ok(text)) if !text.is_empty() => Ok(text.to_owned()),
        _ => Ok(default.unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own table.
    #[test]
    fn references_are_replaced_as_the_specification_has_them() {
        let environment = Environment::from_iter([
            ("STRING_VALUE", "value"),
            ("FLOAT_VALUE", "1.1"),
            ("INVALID_MAP_VALUE", "value\nkey:value"),
            ("DO_NOT_REPLACE_ME", "Never use this value"),
            ("REPLACE_ME", "${DO_NOT_REPLACE_ME}"),
            ("VALUE_WITH_ESCAPE", "value$$"),
            ("EMPTY", ""),
        ]);
        let table = [
            ("${STRING_VALUE}", "value"),
            ("${env:STRING_VALUE}", "value"),
            ("${INVALID_MAP_VALUE}", "value\nkey:value"),
            ("foo ${STRING_VALUE} ${FLOAT_VALUE}", "foo value 1.1"),
            ("${UNDEFINED_KEY}", ""),
            ("${UNDEFINED_KEY:-fallback}", "fallback"),
            ("${EMPTY:-fallback}", "fallback"),
            ("${UNDEFINED_KEY:-}", ""),
            ("${REPLACE_ME}", "${DO_NOT_REPLACE_ME}"),
            ("${UNDEFINED_KEY:-${STRING_VALUE}}", "${STRING_VALUE}"),
            ("$${STRING_VALUE}", "${STRING_VALUE}"),
            ("$$${STRING_VALUE}", "$value"),
            ("$$$${STRING_VALUE}", "$${STRING_VALUE}"),
            ("$${STRING_VALUE:-fallback}", "${STRING_VALUE:-fallback}"),
            ("$${STRING_VALUE:-${STRING_VALUE}}", "${STRING_VALUE:-value}"),
            ("${UNDEFINED_KEY:-$${UNDEFINED_KEY}}", "${UNDEFINED_KEY:-${UNDEFINED_KEY}}"),
            ("${VALUE_WITH_ESCAPE}", "value$$"),
            ("a $$ b", "a $ b"),
            ("a $ b", "a $ b"),
            ("${} ${never", "${} ${never"),
        ];
        for (text, expected) in table {
            assert_eq!(substitute(text, &environment).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${STRING_VALUE:?error}", "${1API_KEY}", "${API_$KEY}", "${sys:name}"] {
            let error = substitute(text, &environment).unwrap_err();
            assert!(error.starts_with("not a reference to a variable"), "{text}: {error}");
        }
    }
}
