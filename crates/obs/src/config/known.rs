//! The names of settings: which exist, which were misspelt, which have no effect.

use super::{Environment, error::ConfigError};

/// Every variable of ours.
pub(super) const OURS: [&str; 27] = [
    "OBS_CAPTURE_INPUT",
    "OBS_ENABLED",
    "OBS_OTLP_HEADERS_FILE",
    "OBS_LOG",
    "OBS_LOG_FORMAT",
    "OBS_LOST_RUNS",
    "OBS_PROMETHEUS_TOKEN",
    "OBS_PROMETHEUS_TOKEN_FILE",
    "OBS_QUEUE_RECORDS",
    "OBS_REDACT_ALLOW",
    "OBS_REDACT_KEYS",
    "OBS_REDACT_PATTERNS",
    "OBS_RETENTION_ERROR",
    "OBS_RETENTION_OK",
    "OBS_SAMPLE_RATE",
    "OBS_SLO",
    "OBS_SPOOL",
    "OBS_SPOOL_BYTES_MAX",
    "OBS_SPOOL_DIR",
    "OBS_SPOOL_FSYNC",
    "OBS_STORE",
    "OBS_STORE_FILE",
    "OBS_STORE_MIGRATE",
    "OBS_STORE_REQUIRED",
    "OBS_SUBJECT_KEY",
    "OBS_SUBJECT_KEY_FILE",
    "OBS_TRACE_ENTRIES",
];

/// Prefixes that belong to the scripts and the Collector of this project, not to a program.
const OF_SCRIPTS: [&str; 4] = ["OBS_COLLECTOR_", "OBS_PG_", "OBS_SKIP_", "OBS_TEST_"];

/// OpenTelemetry's variables that would concern our metrics, but are not supported.
const UNSUPPORTED: [&str; 1] = ["OTEL_CONFIG_FILE"];

/// Refuses `OBS_*` variables that do not exist, so that a misspelt one is not silently ignored.
pub(super) fn no_unknown_names(environment: &Environment) -> Result<(), ConfigError> {
    let unknown = environment.names().find(|name| {
        name.starts_with("OBS_")
            && !OURS.contains(name)
            && !OF_SCRIPTS.iter().any(|prefix| name.starts_with(prefix))
            && !is_service_link(name)
    });
    let Some(name) = unknown else { return Ok(()) };
    // Nobody means a file who does not say so.
    let of_files = name.ends_with("FILE");
    let nearest = OURS
        .into_iter()
        .filter(|known| of_files == known.ends_with("FILE"))
        .min_by_key(|known| distance(name, known))
        .unwrap_or(OURS[0]);
    Err(ConfigError::hidden(
        name,
        format!("is not a setting: did you mean {nearest}? Rename or unset it"),
    ))
}

/// Variables that are set and change nothing.
pub(super) fn without_effect(environment: &Environment) -> Vec<String> {
    UNSUPPORTED.into_iter().filter(|name| environment.is_set(name)).map(str::to_owned).collect()
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
