//! Every name that obs emits: metrics with their units, descriptions and bounds, attributes, events and spans.
//!
//! Made from the YAML files of `registry/` by `just registry`; a change by hand fails a test.
//!
//! ```
//! use obs_core::registry::{attribute, metric};
//!
//! assert_eq!(metric::OBS_RUN_DURATION.name, "obs.run.duration");
//! assert_eq!(metric::OBS_RUN_DURATION.unit, "s");
//! assert_eq!(attribute::OBS_REALM, "obs.realm");
//! ```

/// What an instrument is made of.
///
/// ```
/// use obs_core::registry::metric::OBS_RUN_ACTIVE;
/// assert_eq!((OBS_RUN_ACTIVE.name, OBS_RUN_ACTIVE.unit), ("obs.run.active", "{run}"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit, in UCUM.
    pub unit: &'static str,
    /// What it says, in a sentence.
    pub brief: &'static str,
    /// The explicit bounds of a histogram.
    pub bounds: &'static [f64],
}

/// The metrics.
///
/// ```
/// assert_eq!(obs_core::registry::metric::OBS_STORE_STATE.unit, "");
/// ```
pub mod metric {
    use super::Metric;

    /// `http.server.active_requests`: Number of active HTTP server requests.
    pub const HTTP_SERVER_ACTIVE_REQUESTS: Metric = Metric {
        name: "http.server.active_requests",
        unit: "{request}",
        brief: "Number of active HTTP server requests.",
        bounds: &[],
    };

    /// `http.server.request.duration`: Duration of HTTP server requests.
    pub const HTTP_SERVER_REQUEST_DURATION: Metric = Metric {
        name: "http.server.request.duration",
        unit: "s",
        brief: "Duration of HTTP server requests.",
        bounds: &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0],
    };

    /// `http.server.request.body.size`: Size of HTTP server request bodies.
    pub const HTTP_SERVER_REQUEST_BODY_SIZE: Metric = Metric {
        name: "http.server.request.body.size",
        unit: "By",
        brief: "Size of HTTP server request bodies.",
        bounds: &[0.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0],
    };

    /// `http.server.response.body.size`: Size of HTTP server response bodies.
    pub const HTTP_SERVER_RESPONSE_BODY_SIZE: Metric = Metric {
        name: "http.server.response.body.size",
        unit: "By",
        brief: "Size of HTTP server response bodies.",
        bounds: &[0.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0],
    };

    /// `obs.log.dropped`: Log lines that were not written
    pub const OBS_LOG_DROPPED: Metric = Metric {
        name: "obs.log.dropped",
        unit: "{line}",
        brief: "Log lines that were not written",
        bounds: &[],
    };

    /// `obs.export.dropped`: Log records, spans and reports of errors that did not reach their target
    pub const OBS_EXPORT_DROPPED: Metric = Metric {
        name: "obs.export.dropped",
        unit: "{item}",
        brief: "Log records, spans and reports of errors that did not reach their target",
        bounds: &[],
    };

    /// `obs.record.recorded`: Runs that ended and audit entries, by the class of the record they make
    pub const OBS_RECORD_RECORDED: Metric = Metric {
        name: "obs.record.recorded",
        unit: "{record}",
        brief: "Runs that ended and audit entries, by the class of the record they make",
        bounds: &[],
    };

    /// `obs.record.adopted`: Records of processes that died
    pub const OBS_RECORD_ADOPTED: Metric = Metric {
        name: "obs.record.adopted",
        unit: "{record}",
        brief: "Records of processes that died",
        bounds: &[],
    };

    /// `obs.record.outcomes`: What became of records
    pub const OBS_RECORD_OUTCOMES: Metric = Metric {
        name: "obs.record.outcomes",
        unit: "{record}",
        brief: "What became of records",
        bounds: &[],
    };

    /// `obs.record.dropped`: Records that were lost
    pub const OBS_RECORD_DROPPED: Metric = Metric {
        name: "obs.record.dropped",
        unit: "{record}",
        brief: "Records that were lost",
        bounds: &[],
    };

    /// `obs.record.pending`: Records on their way to the store
    pub const OBS_RECORD_PENDING: Metric = Metric {
        name: "obs.record.pending",
        unit: "{record}",
        brief: "Records on their way to the store",
        bounds: &[],
    };

    /// `obs.record.capacity`: How many records can be pending at most
    pub const OBS_RECORD_CAPACITY: Metric = Metric {
        name: "obs.record.capacity",
        unit: "{record}",
        brief: "How many records can be pending at most",
        bounds: &[],
    };

    /// `obs.record.imbalance`: Left side minus right side of the ledger's law: 0, always
    pub const OBS_RECORD_IMBALANCE: Metric = Metric {
        name: "obs.record.imbalance",
        unit: "{record}",
        brief: "Left side minus right side of the ledger's law: 0, always",
        bounds: &[],
    };

    /// `obs.record.sanitized`: Values that were changed to make a record valid
    pub const OBS_RECORD_SANITIZED: Metric = Metric {
        name: "obs.record.sanitized",
        unit: "{value}",
        brief: "Values that were changed to make a record valid",
        bounds: &[],
    };

    /// `obs.label.folded`: Label values that had no room and became _OTHER
    pub const OBS_LABEL_FOLDED: Metric = Metric {
        name: "obs.label.folded",
        unit: "{value}",
        brief: "Label values that had no room and became _OTHER",
        bounds: &[],
    };

    /// `obs.policy.changes`: Policies that were put in force after the start
    pub const OBS_POLICY_CHANGES: Metric = Metric {
        name: "obs.policy.changes",
        unit: "{change}",
        brief: "Policies that were put in force after the start",
        bounds: &[],
    };

    /// `obs.policy.refused`: 1 while the policy that was offered last is refused
    pub const OBS_POLICY_REFUSED: Metric = Metric {
        name: "obs.policy.refused",
        unit: "",
        brief: "1 while the policy that was offered last is refused",
        bounds: &[],
    };

    /// `obs.run.started`: Runs that started
    pub const OBS_RUN_STARTED: Metric = Metric {
        name: "obs.run.started",
        unit: "{run}",
        brief: "Runs that started",
        bounds: &[],
    };

    /// `obs.run.active`: Runs in flight
    pub const OBS_RUN_ACTIVE: Metric = Metric {
        name: "obs.run.active",
        unit: "{run}",
        brief: "Runs in flight",
        bounds: &[],
    };

    /// `obs.run.duration`: How long runs took
    pub const OBS_RUN_DURATION: Metric = Metric {
        name: "obs.run.duration",
        unit: "s",
        brief: "How long runs took",
        bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0],
    };

    /// `obs.run.queue.duration`: How long runs waited for their start
    pub const OBS_RUN_QUEUE_DURATION: Metric = Metric {
        name: "obs.run.queue.duration",
        unit: "s",
        brief: "How long runs waited for their start",
        bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0],
    };

    /// `obs.run.nodes`: How many nodes runs executed
    pub const OBS_RUN_NODES: Metric = Metric {
        name: "obs.run.nodes",
        unit: "{node}",
        brief: "How many nodes runs executed",
        bounds: &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0],
    };

    /// `obs.run.errors`: Runs that failed
    pub const OBS_RUN_ERRORS: Metric = Metric {
        name: "obs.run.errors",
        unit: "{error}",
        brief: "Runs that failed",
        bounds: &[],
    };

    /// `obs.run.time_limit`: The time limit that applies to runs
    pub const OBS_RUN_TIME_LIMIT: Metric = Metric {
        name: "obs.run.time_limit",
        unit: "s",
        brief: "The time limit that applies to runs",
        bounds: &[],
    };

    /// `obs.run.oldest.age`: Age of the oldest run in flight
    pub const OBS_RUN_OLDEST_AGE: Metric = Metric {
        name: "obs.run.oldest.age",
        unit: "s",
        brief: "Age of the oldest run in flight",
        bounds: &[],
    };

    /// `obs.run.untracked`: Runs that found no slot, and strategies whose texts found no room beside them
    pub const OBS_RUN_UNTRACKED: Metric = Metric {
        name: "obs.run.untracked",
        unit: "{value}",
        brief: "Runs that found no slot, and strategies whose texts found no room beside them",
        bounds: &[],
    };

    /// `process.uptime`: The time the process has been running.
    pub const PROCESS_UPTIME: Metric = Metric {
        name: "process.uptime",
        unit: "s",
        brief: "The time the process has been running.",
        bounds: &[],
    };

    /// `obs.runtime.requests`: HTTP requests that ended, by how
    pub const OBS_RUNTIME_REQUESTS: Metric = Metric {
        name: "obs.runtime.requests",
        unit: "{request}",
        brief: "HTTP requests that ended, by how",
        bounds: &[],
    };

    /// `obs.runtime.deliveries`: Deliveries, and those that were refused
    pub const OBS_RUNTIME_DELIVERIES: Metric = Metric {
        name: "obs.runtime.deliveries",
        unit: "{response}",
        brief: "Deliveries, and those that were refused",
        bounds: &[],
    };

    /// `obs.runtime.values`: Values in deliveries
    pub const OBS_RUNTIME_VALUES: Metric = Metric {
        name: "obs.runtime.values",
        unit: "{value}",
        brief: "Values in deliveries",
        bounds: &[],
    };

    /// `obs.store.write.duration`: How long batches took to write
    pub const OBS_STORE_WRITE_DURATION: Metric = Metric {
        name: "obs.store.write.duration",
        unit: "s",
        brief: "How long batches took to write",
        bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0],
    };

    /// `obs.store.batch.size`: Records per batch
    pub const OBS_STORE_BATCH_SIZE: Metric = Metric {
        name: "obs.store.batch.size",
        unit: "{record}",
        brief: "Records per batch",
        bounds: &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
    };

    /// `obs.store.state`: The store: 0 starting, 1 up, 2 down, 3 stopped
    pub const OBS_STORE_STATE: Metric = Metric {
        name: "obs.store.state",
        unit: "",
        brief: "The store: 0 starting, 1 up, 2 down, 3 stopped",
        bounds: &[],
    };

    /// `obs.store.last_write.age`: Time since a batch was last written
    pub const OBS_STORE_LAST_WRITE_AGE: Metric = Metric {
        name: "obs.store.last_write.age",
        unit: "s",
        brief: "Time since a batch was last written",
        bounds: &[],
    };

    /// `obs.store.days.ahead`: Whole days after today for which the store has partitions
    pub const OBS_STORE_DAYS_AHEAD: Metric = Metric {
        name: "obs.store.days.ahead",
        unit: "{day}",
        brief: "Whole days after today for which the store has partitions",
        bounds: &[],
    };

    /// `obs.store.oldest.age`: Age of the oldest rows that retention has left
    pub const OBS_STORE_OLDEST_AGE: Metric = Metric {
        name: "obs.store.oldest.age",
        unit: "s",
        brief: "Age of the oldest rows that retention has left",
        bounds: &[],
    };

    /// `obs.spool.size`: What the spool takes up on the disk
    pub const OBS_SPOOL_SIZE: Metric = Metric {
        name: "obs.spool.size",
        unit: "By",
        brief: "What the spool takes up on the disk",
        bounds: &[],
    };

    /// `obs.spool.limit`: What it may take up
    pub const OBS_SPOOL_LIMIT: Metric = Metric {
        name: "obs.spool.limit",
        unit: "By",
        brief: "What it may take up",
        bounds: &[],
    };

    /// `obs.spool.oldest.age`: Age of the oldest record in the spool
    pub const OBS_SPOOL_OLDEST_AGE: Metric = Metric {
        name: "obs.spool.oldest.age",
        unit: "s",
        brief: "Age of the oldest record in the spool",
        bounds: &[],
    };

    /// `obs.export.failures`: Exports that did not reach their target, or not as a whole
    pub const OBS_EXPORT_FAILURES: Metric = Metric {
        name: "obs.export.failures",
        unit: "{export}",
        brief: "Exports that did not reach their target, or not as a whole",
        bounds: &[],
    };

    /// `obs.export.rejected`: Points that reached their target and were not taken
    pub const OBS_EXPORT_REJECTED: Metric = Metric {
        name: "obs.export.rejected",
        unit: "{point}",
        brief: "Points that reached their target and were not taken",
        bounds: &[],
    };

    /// `obs.instrument.failures`: Gauges of the application that could not be read
    pub const OBS_INSTRUMENT_FAILURES: Metric = Metric {
        name: "obs.instrument.failures",
        unit: "{failure}",
        brief: "Gauges of the application that could not be read",
        bounds: &[],
    };
}

/// The keys of attributes.
///
/// ```
/// assert_eq!(obs_core::registry::attribute::ERROR_TYPE, "error.type");
/// ```
pub mod attribute {
    /// `class`: The class of a record; each has lanes and a retention of its own.
    pub const CLASS: &str = "class";

    /// `correlation.provenance`: Where a request's correlation id is from.
    pub const CORRELATION_PROVENANCE: &str = "correlation.provenance";

    /// `endpoint`: The endpoint that delivered.
    pub const ENDPOINT: &str = "endpoint";

    /// `error.type`: The error's code, or what class of failure ended the operation.
    pub const ERROR_TYPE: &str = "error.type";

    /// `http.request.body.size`: The size of the request's body.
    pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";

    /// `http.request.method`: The request's method, `_OTHER` where it is not a known one.
    pub const HTTP_REQUEST_METHOD: &str = "http.request.method";

    /// `http.response.body.size`: The size of the answer's body, as far as it was sent.
    pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";

    /// `http.response.status_code`: The answer's status.
    pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";

    /// `http.route`: The matched route, a template.
    pub const HTTP_ROUTE: &str = "http.route";

    /// `instrument`: The name of an instrument of the application's own.
    pub const INSTRUMENT: &str = "instrument";

    /// `kind`: The kind of a delivery.
    pub const KIND: &str = "kind";

    /// `network.protocol.version`: The version of HTTP.
    pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";

    /// `obs.audit.actor`: Who acted: the id of a key, or a subject.
    pub const OBS_AUDIT_ACTOR: &str = "obs.audit.actor";

    /// `obs.audit.details`: What else was said of it, as JSON.
    pub const OBS_AUDIT_DETAILS: &str = "obs.audit.details";

    /// `obs.audit.id`: The id of an entry of the audit trail, a UUID of version 7; its row has the same.
    pub const OBS_AUDIT_ID: &str = "obs.audit.id";

    /// `obs.audit.level`: How the entry is meant: `info`, `success`, `warn` or `error`.
    pub const OBS_AUDIT_LEVEL: &str = "obs.audit.level";

    /// `obs.audit.message`: What happened.
    pub const OBS_AUDIT_MESSAGE: &str = "obs.audit.message";

    /// `obs.audit.module`: The part of the program that wrote the entry.
    pub const OBS_AUDIT_MODULE: &str = "obs.audit.module";

    /// `obs.kind`: The family of runs, as the program names it.
    pub const OBS_KIND: &str = "obs.kind";

    /// `obs.node.branch`: The branch that it took.
    pub const OBS_NODE_BRANCH: &str = "obs.node.branch";

    /// `obs.node.phase`: The phase of the run that it belongs to.
    pub const OBS_NODE_PHASE: &str = "obs.node.phase";

    /// `obs.node.seq`: Its place in the trace, from 0; the trace of the row says the same.
    pub const OBS_NODE_SEQ: &str = "obs.node.seq";

    /// `obs.node.type`: What the node is.
    pub const OBS_NODE_TYPE: &str = "obs.node.type";

    /// `obs.node.value`: What it computed: a text, a number or a truth; anything else as its JSON.
    pub const OBS_NODE_VALUE: &str = "obs.node.value";

    /// `obs.realm`: The tenant, `unknown` where none is stated.
    pub const OBS_REALM: &str = "obs.realm";

    /// `obs.run.attributes`: Further attributes, as one JSON object.
    pub const OBS_RUN_ATTRIBUTES: &str = "obs.run.attributes";

    /// `obs.run.case_name`: The case that the run chose.
    pub const OBS_RUN_CASE_NAME: &str = "obs.run.case_name";

    /// `obs.run.correlation_id`: The caller's correlation id.
    pub const OBS_RUN_CORRELATION_ID: &str = "obs.run.correlation_id";

    /// `obs.run.duration_ns`: How long it took on a monotonic clock, in nanoseconds.
    pub const OBS_RUN_DURATION_NS: &str = "obs.run.duration_ns";

    /// `obs.run.epoch`: The process lifetime that recorded the run; its instance id, unless another one delivered the record.
    pub const OBS_RUN_EPOCH: &str = "obs.run.epoch";

    /// `obs.run.error_message`: The error's message, redacted.
    pub const OBS_RUN_ERROR_MESSAGE: &str = "obs.run.error_message";

    /// `obs.run.error_node`: The node that failed.
    pub const OBS_RUN_ERROR_NODE: &str = "obs.run.error_node";

    /// `obs.run.finished_at_us`: When it ended: microseconds since 1970, UTC.
    pub const OBS_RUN_FINISHED_AT_US: &str = "obs.run.finished_at_us";

    /// `obs.run.id`: The run's id, a UUID of version 7; its row has the same.
    pub const OBS_RUN_ID: &str = "obs.run.id";

    /// `obs.run.inclusion_probability`: The probability with which a run like this one is kept; one row stands for one divided by it.
    pub const OBS_RUN_INCLUSION_PROBABILITY: &str = "obs.run.inclusion_probability";

    /// `obs.run.input`: The input as JSON, redacted, within its limit.
    pub const OBS_RUN_INPUT: &str = "obs.run.input";

    /// `obs.run.input_bytes`: The size of the whole input.
    pub const OBS_RUN_INPUT_BYTES: &str = "obs.run.input_bytes";

    /// `obs.run.input_truncated`: Whether there is less than the whole input.
    pub const OBS_RUN_INPUT_TRUNCATED: &str = "obs.run.input_truncated";

    /// `obs.run.keep_reason`: Why it was kept.
    pub const OBS_RUN_KEEP_REASON: &str = "obs.run.keep_reason";

    /// `obs.run.nodes`: How many nodes it executed.
    pub const OBS_RUN_NODES: &str = "obs.run.nodes";

    /// `obs.run.parent_id`: The run that started this one.
    pub const OBS_RUN_PARENT_ID: &str = "obs.run.parent_id";

    /// `obs.run.sample_rate`: The rate in force for runs of this status.
    pub const OBS_RUN_SAMPLE_RATE: &str = "obs.run.sample_rate";

    /// `obs.run.slim`: Whether input and trace were left out, because the same error had come too often.
    pub const OBS_RUN_SLIM: &str = "obs.run.slim";

    /// `obs.run.slow`: Whether it took longer than the SLO.
    pub const OBS_RUN_SLOW: &str = "obs.run.slow";

    /// `obs.run.started_at_us`: When the run started: microseconds since 1970, UTC.
    pub const OBS_RUN_STARTED_AT_US: &str = "obs.run.started_at_us";

    /// `obs.run.status`: How a run ended.
    pub const OBS_RUN_STATUS: &str = "obs.run.status";

    /// `obs.run.subject`: Whose run it is: as given, or hashed where a key is configured.
    pub const OBS_RUN_SUBJECT: &str = "obs.run.subject";

    /// `obs.run.trace`: The executed nodes, as a JSON array.
    pub const OBS_RUN_TRACE: &str = "obs.run.trace";

    /// `obs.run.trace_bytes`: The size of the whole trace.
    pub const OBS_RUN_TRACE_BYTES: &str = "obs.run.trace_bytes";

    /// `obs.run.trace_kept`: How many of them there are.
    pub const OBS_RUN_TRACE_KEPT: &str = "obs.run.trace_kept";

    /// `obs.run.trace_total`: How many entries the whole trace had.
    pub const OBS_RUN_TRACE_TOTAL: &str = "obs.run.trace_total";

    /// `obs.run.value`: The number that the run produced.
    pub const OBS_RUN_VALUE: &str = "obs.run.value";

    /// `obs.strategy.hash`: A hash of the strategy's content, if one was given.
    pub const OBS_STRATEGY_HASH: &str = "obs.strategy.hash";

    /// `obs.strategy.id`: The strategy's id, for kinds that opt in to the strategy label.
    pub const OBS_STRATEGY_ID: &str = "obs.strategy.id";

    /// `obs.strategy.type`: The type of the strategy, `unknown` where none is stated.
    pub const OBS_STRATEGY_TYPE: &str = "obs.strategy.type";

    /// `obs.strategy.version`: The strategy's version, for kinds that opt in to the strategy label.
    pub const OBS_STRATEGY_VERSION: &str = "obs.strategy.version";

    /// `outcome`: What became of it.
    pub const OUTCOME: &str = "outcome";

    /// `reason`: Why a record was dropped, or a value changed.
    pub const REASON: &str = "reason";

    /// `signal`: The signal of an export.
    pub const SIGNAL: &str = "signal";

    /// `stage`: Where a record waits.
    pub const STAGE: &str = "stage";

    /// `target`: What was delivered to.
    pub const TARGET: &str = "target";

    /// `url.scheme`: The request's scheme.
    pub const URL_SCHEME: &str = "url.scheme";

    /// `which`: Which label folded, or what found no slot.
    pub const WHICH: &str = "which";
}

/// The names of events.
///
/// ```
/// assert!(obs_core::registry::event::OBS_RUN.contains('.'));
/// ```
pub mod event {
    /// `obs.run`: A kept run: all that its row says.
    pub const OBS_RUN: &str = "obs.run";

    /// `obs.audit`: An entry of the audit trail: all that its row says.
    pub const OBS_AUDIT: &str = "obs.audit";
}
