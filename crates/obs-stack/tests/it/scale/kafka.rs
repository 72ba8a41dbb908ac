//! Kept runs as log events in a replicated topic of Kafka.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use obs::{Environment, Protocol, Telemetry};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use uuid::Uuid;

use super::{brokers::Brokers, say};
use crate::stack::{Load, Made, Shape, Stack, until_within};

/// For brokers to notice that one is gone, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Events that must have got through before the next thing happens.
const SHARE: f64 = 1000.0;

#[test]
#[ignore = "starts brokers and the whole stack: just scale"]
fn every_run_is_in_the_topic_after_a_broker_was_killed_under_load_and_after_another_one_was() {
    let Some(mut brokers) = Brokers::start() else { return };
    let settings = vec![("OBS_COLLECTOR_KAFKA", brokers.as_setting())];
    let shape = Shape { gateway: Some("kafka.yaml".into()), settings, ..Shape::default() };
    let Some(stack) = Stack::start_as(shape) else { return };
    let load = Load::start(telemetry(&stack));
    let before = stack.events_sent_beyond(SHARE);

    brokers.kill(0);
    let while_away = stack.events_sent_beyond(before + SHARE);
    brokers.start_again(0);
    stack.events_sent_beyond(while_away + SHARE);
    let Made { runs, ids } = load.end();
    stack.wait_until_queues_are_empty();
    brokers.wait_until_in_sync();
    brokers.kill(1);
    brokers.wait_until_taken_over();

    let made: HashSet<Uuid> = ids.into_iter().collect();
    assert_eq!(made.len() as u64, runs);
    let found = events(&brokers.messages());
    let missing = made.iter().filter(|id| !found.contains_key(id)).count();
    let strange = found.keys().filter(|id| !made.contains(id)).count();
    let again: usize = found.values().map(|count| count - 1).sum();
    say(&format!(
        "Kafka: {runs} runs, {} in the topic, {missing} missing, {again} more than once, of which \
         {} were sent before a broker was killed and {} until it was back",
        found.len(),
        before,
        while_away - before
    ));
    assert_eq!((missing, strange), (0, 0), "of {runs} runs");
}

impl Stack {
    /// How many events the brokers have acknowledged, once it is more than so many.
    fn events_sent_beyond(&self, events: f64) -> f64 {
        let query = "sum(otelcol_exporter_sent_log_records{exporter=\"kafka\"})";
        until_within(
            PATIENCE,
            || format!("more than {events} events, last {:?}", self.prometheus.number(query)),
            || self.prometheus.number(query).filter(|sent| *sent > events),
        )
    }

    /// What agent and gateways had in their queues is with the brokers.
    fn wait_until_queues_are_empty(&self) {
        let query = "sum(otelcol_exporter_queue_size{data_type=\"logs\"})";
        until_within(
            PATIENCE,
            || format!("no queue, last {:?}", self.prometheus.number(query)),
            || self.prometheus.number(query).filter(|waiting| *waiting == 0.0),
        );
    }
}

/// Every run is kept, and leaves as an event.
fn telemetry(stack: &Stack) -> Telemetry {
    let environment = [("OTEL_METRIC_EXPORT_INTERVAL", "500"), ("OBS_SAMPLE_RATE", "1")];
    obs::builder()
        .environment(Environment::from_iter(environment))
        .service_name("scale-kafka")
        .endpoint(stack.grpc())
        .protocol(Protocol::Grpc)
        .store("otlp")
        .spool_dir(stack.folder.join("spool-of-the-test"))
        .init()
        .unwrap()
}

/// How often each run is there.
fn events(messages: &[ExportLogsServiceRequest]) -> HashMap<Uuid, usize> {
    let mut found = HashMap::new();
    let records = messages
        .iter()
        .flat_map(|message| &message.resource_logs)
        .flat_map(|resource| &resource.scope_logs)
        .flat_map(|scope| &scope.log_records);
    for record in records.filter(|record| record.event_name == "obs.run") {
        let id = record.attributes.iter().find(|pair| pair.key == "obs.run.id");
        let id = id.and_then(|pair| pair.value.as_ref()?.value.as_ref());
        let Some(Value::StringValue(id)) = id else { panic!("a run without an id: {record:?}") };
        *found.entry(Uuid::parse_str(id).unwrap()).or_default() += 1;
    }
    found
}
