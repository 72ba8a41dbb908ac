//! Readers of every kind on cells: two at once, of either temporality, and a view that asks for an exponential
//! histogram.

use std::time::Duration;

use obs_core::{
    FinishedRun, Obs,
    otel::{Measure, Metrics, MetricsOptions},
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{
    Aggregation, InMemoryMetricExporter, InMemoryMetricExporterBuilder, Instrument,
    SdkMeterProvider, Stream, Temporality,
    data::{AggregatedMetrics, MetricData},
};

use crate::support::Export;

fn exporter(temporality: Temporality) -> InMemoryMetricExporter {
    InMemoryMetricExporterBuilder::new().with_temporality(temporality).build()
}

fn obs(provider: &SdkMeterProvider, measure: Measure) -> Obs {
    let options = MetricsOptions { bound: true, measure, ..MetricsOptions::default() };
    let metrics = Metrics::new(&provider.meter("obs"), options).unwrap();
    Obs::builder().metrics(metrics).build().unwrap()
}

/// What is exported since the last time.
fn exported(exporter: &InMemoryMetricExporter) -> (u64, f64, f64) {
    let export = Export::read(exporter);
    exporter.reset();
    let durations = export.histograms.get("obs.run.duration");
    let points = durations.into_iter().flat_map(|points| points.values());
    let (count, sum) = points.fold((0, 0.0), |(count, sum), it| (count + it.count, sum + it.sum));
    (count, sum, export.total("obs.run.started"))
}

#[test]
fn two_readers_of_either_temporality_each_see_every_run_once() {
    let [cumulative, delta] = [Temporality::Cumulative, Temporality::Delta].map(exporter);
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(cumulative.clone())
        .with_periodic_exporter(delta.clone())
        .build();
    let strategy = obs(&provider, Measure::InCells).kind("dsl").lookup("s", "1");
    let (mut made, mut sum, mut seen) = (0, 0.0, (0, 0.0, 0.0));
    for round in 0..6_u32 {
        // No run in one of the rounds: a reader of differences then has nothing to say.
        for run in 0..(round % 3) * 1_000 {
            let duration = Duration::from_nanos(u64::from(run) * 7_919);
            strategy.record(FinishedRun { duration, ..FinishedRun::default() });
            (made, sum) = (made + 1, sum + duration.as_secs_f64());
        }
        provider.force_flush().unwrap();
        let (count, seconds, started) = exported(&delta);
        seen = (seen.0 + count, seen.1 + seconds, seen.2 + started);
        let all = exported(&cumulative);
        for (reader, (count, seconds, started)) in [("delta", seen), ("cumulative", all)] {
            assert_eq!((count, started), (made, made as f64), "{reader} in round {round}");
            let error = (seconds - sum).abs();
            assert!(error <= 1e-11 * sum, "{reader} in round {round}: {seconds} and {sum}");
        }
    }
    provider.shutdown().unwrap();
}

/// Count, sum, smallest and largest of the exponential histogram, and its counts by the power of two.
fn exponential(exporter: &InMemoryMetricExporter) -> (usize, f64, Option<f64>, Option<f64>, u64) {
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            if let (
                "obs.run.duration",
                AggregatedMetrics::F64(MetricData::ExponentialHistogram(data)),
            ) = (metric.name(), metric.data())
            {
                let point = data.data_points().next().unwrap();
                let counts = point.positive_bucket().counts().sum::<u64>() + point.zero_count();
                return (point.count(), point.sum(), point.min(), point.max(), counts);
            }
        }
    }
    panic!("the view was not asked");
}

#[test]
fn an_exponential_histogram_of_cells_has_the_count_the_sum_and_the_ends_of_the_runs() {
    let of = |measure| {
        let exporter = exporter(Temporality::Cumulative);
        let view = |instrument: &Instrument| {
            let aggregation = Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 20,
                record_min_max: true,
            };
            (instrument.name() == "obs.run.duration")
                .then(|| Stream::builder().with_aggregation(aggregation).build().unwrap())
        };
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .with_view(view)
            .build();
        let strategy = obs(&provider, measure).kind("dsl").lookup("s", "1");
        for run in 1..3_000_u64 {
            let duration = Duration::from_nanos(run * run * 1_009);
            strategy.record(FinishedRun { duration, ..FinishedRun::default() });
        }
        provider.force_flush().unwrap();
        exponential(&exporter)
    };
    let (cells, direct) = (of(Measure::InCells), of(Measure::EachRun));
    assert_eq!((cells.0, cells.2, cells.3, cells.4), (direct.0, direct.2, direct.3, direct.4));
    assert_eq!(cells.4, 2_999, "every run is in a bucket");
    assert!((cells.1 - direct.1).abs() <= 1e-11 * direct.1, "{} and {}", cells.1, direct.1);
}
