//! A real Prometheus scrapes us: what it has stored afterwards is what the program says.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection,
    dsl::sql,
    sql_types::{Nullable, Text},
};
use obs::{Environment, Telemetry};
use obs_http::{Access, Endpoints, MetricsFormat};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    ports::free_port,
    promtool::program,
    support::{PATIENCE, runs, until},
};

/// A Prometheus of our own build with one target, ended when it is dropped.
pub(crate) struct Prometheus {
    process: Child,
    port: u16,
    // Deleted after the process has ended.
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// `None` only if whoever runs the tests has said that there is to be no Prometheus.
    pub(crate) fn scraping(target: u16) -> Option<Self> {
        let binary = program("prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let scrape = format!(
            "global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\n\
             scrape_configs:\n  - job_name: obs\n    static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        );
        fs::write(&config, scrape).unwrap();
        let port = free_port();
        let process = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Some(Self { process, port, folder })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What its HTTP API answers, once it does.
    fn ask(&self, path: &str, query: &str) -> Option<Value> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /api/v1/{path}?query={query} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let answer: Value = serde_json::from_str(body).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The sum that a query has come to, once it has come to anything.
    pub(crate) fn number(&self, query: &str) -> Option<f64> {
        let data = self.ask("query", query)?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    #[track_caller]
    pub(crate) fn until_number(&self, query: &str, expected: f64) {
        let mut last = None;
        until(&format!("{query} == {expected} in Prometheus: {}", self.log()), || {
            last = self.number(query);
            (last == Some(expected)).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn telemetry(file: &Path) -> Arc<Telemetry> {
    let store = format!("sqlite:{}", file.display());
    let variables = [("OBS_STORE", store.as_str()), ("OBS_SAMPLE_RATE", "0.2")];
    let telemetry =
        obs::builder().environment(Environment::from_iter(variables)).seed(7).snapshots(true);
    Arc::new(telemetry.init().unwrap())
}

fn endpoints(telemetry: &Arc<Telemetry>) -> Endpoints {
    let telemetry = Arc::clone(telemetry);
    let metrics = move |format| {
        let snapshot = telemetry.snapshot().map_err(|error| error.to_string())?;
        Ok(match format {
            MetricsFormat::OpenMetrics => snapshot.to_openmetrics(),
            _ => snapshot.to_prometheus(),
        })
    };
    Endpoints::builder(Access::Open).metrics(metrics).build()
}

#[test]
fn prometheus_stores_every_count_and_exemplars_that_lead_to_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.sqlite");
    let telemetry = telemetry(&file);
    let server = tokio::runtime::Runtime::new().unwrap();
    let listening = server.block_on(endpoints(&telemetry).listen(([127, 0, 0, 1], 0).into()));
    let listening = listening.unwrap();
    runs(&telemetry.kind("dsl.execution"), 200);
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let Some(prometheus) = Prometheus::scraping(listening.address().port()) else { return };

    let of_kind = "{obs_kind=\"dsl.execution\"}";
    prometheus.until_number(&format!("sum(obs_run_started_total{of_kind})"), 200.0);
    prometheus.until_number(&format!("sum(obs_run_errors_total{of_kind})"), 100.0);
    prometheus.until_number(&format!("sum(obs_run_duration_seconds_count{of_kind})"), 200.0);
    prometheus.until_number("max(obs_record_imbalance)", 0.0);
    prometheus.until_number("count(target_info{service_name!=\"\"})", 1.0);
    prometheus.until_number("min(up)", 1.0);

    let exemplars = until("exemplars in Prometheus", || {
        let data = prometheus.ask("query_exemplars", "obs_run_duration_seconds_bucket")?;
        data.as_array().filter(|series| !series.is_empty()).cloned()
    });
    let ids: Vec<(String, String)> = exemplars
        .iter()
        .flat_map(|series| {
            let status = series["seriesLabels"]["obs_run_status"].as_str().unwrap().to_owned();
            let all = series["exemplars"].as_array().unwrap().clone();
            all.into_iter().map(move |exemplar| {
                (exemplar["labels"]["run_id"].as_str().unwrap().to_owned(), status.clone())
            })
        })
        .collect();
    assert!(ids.iter().any(|(_, status)| status == "ok"), "{exemplars:?}");
    assert!(ids.iter().any(|(_, status)| status == "error"), "{exemplars:?}");
    let mut rows = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    for (id, status) in ids {
        let hex = id.replace('-', "");
        let query = format!(
            "SELECT max(status) FROM run WHERE lower(hex(run_id)) = '{hex}' OR run_id = '{id}'"
        );
        let row: Option<String> = sql::<Nullable<Text>>(&query).get_result(&mut rows).unwrap();
        assert_eq!(row.as_deref(), Some(&*status), "the row of {id}");
    }
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
}
