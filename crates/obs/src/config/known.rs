//! The names of settings: which exist, which were misspelt, which have no effect.

use super::{CONFIG_FILE, Environment, error::ConfigError, file::File};

/// Every variable of ours, and its key in the block `obs` of a file.
pub(super) const KEYS: [(&str, &str); 36] = [
    ("OBS_CAPTURE_INPUT", "capture_input"),
    ("OBS_ENABLED", "enabled"),
    ("OBS_HEARTBEAT", "heartbeat"),
    ("OBS_LOG", "log.level"),
    ("OBS_LOG_FORMAT", "log.format"),
    ("OBS_LOST_RUNS", "lost_runs"),
    ("OBS_OTLP_HEADERS_FILE", "otlp.headers_file"),
    ("OBS_PROMETHEUS_TOKEN", "prometheus.token"),
    ("OBS_PROMETHEUS_TOKEN_FILE", "prometheus.token_file"),
    ("OBS_QUEUE_RECORDS", "queue.records"),
    ("OBS_REDACT_ALLOW", "redact.allow"),
    ("OBS_REDACT_KEYS", "redact.keys"),
    ("OBS_REDACT_PATTERNS", "redact.patterns"),
    ("OBS_RETENTION_ERROR", "retention.error"),
    ("OBS_RETENTION_OK", "retention.ok"),
    ("OBS_SAMPLE_BY", "policy.sample_by"),
    ("OBS_SAMPLE_RATE", "policy.sample_rate"),
    ("OBS_SENTRY_CERTIFICATE", "sentry.certificate"),
    ("OBS_SENTRY_DSN", "sentry.dsn"),
    ("OBS_SENTRY_DSN_FILE", "sentry.dsn_file"),
    ("OBS_SENTRY_ENVIRONMENT", "sentry.environment"),
    ("OBS_SENTRY_PERSONAL_DATA", "sentry.personal_data"),
    ("OBS_SENTRY_RELEASE", "sentry.release"),
    ("OBS_SENTRY_TRACE_RATE", "sentry.trace_rate"),
    ("OBS_SLO", "policy.slo"),
    ("OBS_SPOOL", "spool.mode"),
    ("OBS_SPOOL_BYTES_MAX", "spool.bytes_max"),
    ("OBS_SPOOL_DIR", "spool.dir"),
    ("OBS_SPOOL_FSYNC", "spool.fsync"),
    ("OBS_STORE", "store.url"),
    ("OBS_STORE_FILE", "store.url_file"),
    ("OBS_STORE_MIGRATE", "store.migrate"),
    ("OBS_STORE_REQUIRED", "store.required"),
    ("OBS_SUBJECT_KEY", "subject.key"),
    ("OBS_SUBJECT_KEY_FILE", "subject.key_file"),
    ("OBS_TRACE_ENTRIES", "policy.trace_entries"),
];

/// Prefixes that belong to the scripts and the Collector of this project, not to a program.
const OF_SCRIPTS: [&str; 4] = ["OBS_COLLECTOR_", "OBS_PG_", "OBS_SKIP_", "OBS_TEST_"];

/// Refuses `OBS_*` variables that do not exist, so that a misspelt one is not silently ignored.
pub(super) fn no_unknown_names(environment: &Environment) -> Result<(), ConfigError> {
    let unknown = environment.names().find(|name| {
        name.starts_with("OBS_")
            && !KEYS.iter().any(|(known, _)| known == name)
            && !OF_SCRIPTS.iter().any(|prefix| name.starts_with(prefix))
            && !is_service_link(name)
    });
    let Some(name) = unknown else { return Ok(()) };
    // Nobody means a file who does not say so.
    let of_files = name.ends_with("FILE");
    let known = KEYS.into_iter().map(|(known, _)| known);
    let near = nearest(name, known.filter(|known| of_files == known.ends_with("FILE")));
    let near = near.map_or(KEYS[0].0, |(near, _)| near);
    Err(ConfigError::hidden(
        name,
        format!("is not a setting: did you mean {near}? Rename or unset it"),
    ))
}

/// OpenTelemetry's variables that are set and change nothing, because there is a file that does not ask
/// for them.
pub(super) fn without_effect(environment: &Environment, file: &File) -> Vec<String> {
    let without =
        |name: &&str| name.starts_with("OTEL_") && *name != CONFIG_FILE && !file.refers_to(name);
    environment.names().filter(without).map(str::to_owned).collect()
}

/// The name that differs least, and by how many letters.
pub(super) fn nearest<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, usize)> {
    known.map(|known| (known, distance(name, known))).min_by_key(|(_, distance)| *distance)
}

/// Kubernetes describes every service of a namespace to every pod: one called `obs` or
/// `obs-collector` makes `OBS_SERVICE_HOST`, `OBS_COLLECTOR_PORT_4317_TCP_ADDR` and the like.
fn is_service_link(name: &str) -> bool {
    let after_port =
        name.rsplit_once("_PORT_").map(|(_, rest)| rest.split('_').collect::<Vec<_>>());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || matches!(
            after_port.as_deref(),
            Some([port, "TCP" | "UDP" | "SCTP"] | [port, "TCP" | "UDP" | "SCTP", "ADDR" | "PORT" | "PROTO"])
                if port.bytes().all(|byte| byte.is_ascii_digit())
        )
}

/// Levenshtein distance: how many letters must be added, dropped or changed.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let changed = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_that_differ() {
        assert_eq!(distance("OBS_SLO", "OBS_SLO"), 0);
        assert_eq!(distance("OBS_SLOW", "OBS_SLO"), 1);
        assert_eq!(distance("OBS_STROE", "OBS_STORE"), 2);
    }

    #[test]
    fn what_kubernetes_says_about_a_service_called_obs_is_not_a_misspelt_setting() {
        for name in [
            "OBS_SERVICE_HOST",
            "OBS_SERVICE_PORT",
            "OBS_SERVICE_PORT_GRPC",
            "OBS_PORT",
            "OBS_PORT_4317_TCP",
            "OBS_COLLECTOR_PORT_4317_TCP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["OBS_SUPPORT", "OBS_EXPORT_TCP", "OBS_PORT_X_TCP", "OBS_STROE"] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
