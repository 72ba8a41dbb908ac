//! Reports of errors, to a server that takes envelopes, refuses them, or does not answer.

#[cfg(not(feature = "sentry"))]
#[test]
fn a_program_without_the_feature_says_so_instead_of_reporting_nothing() {
    let error = crate::support::metrics_only().sentry("https://hunter2@127.0.0.1/42").init();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("feature `sentry`") && !error.contains("hunter2"), "{error}");
}

#[cfg(feature = "sentry")]
mod reported {
    use std::{
        collections::BTreeSet,
        io::Write as _,
        net::TcpStream,
        sync::{
            Arc, Mutex,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use obs::{Builder, Report, Telemetry};
    use rustls::{
        ServerConfig, ServerConnection,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    };
    use serde_json::Value as Json;

    use crate::tls::Certificates;
    use crate::{
        ports::free_port,
        support::{
            FakeCollector, PATIENCE, Request, Server, Stalled, metrics_only, read_request, timed,
            total, until,
        },
    };

    const KEY: &str = "0123456789abcdefhunter2";

    fn dsn(url: &str) -> String {
        url.replace("http://", &format!("http://{KEY}@")) + "/42"
    }

    fn builder(url: &str) -> Builder {
        metrics_only().snapshots(true).sample_rate(0.0).sentry(dsn(url))
    }

    fn fail(telemetry: &Telemetry, count: u32) {
        let strategy = telemetry.kind("dsl").strategy("bonus").version("3").build().unwrap();
        for _ in 0..count {
            let _: Result<(), String> = strategy.observe(&"input-of-anna", |run| {
                run.subject("subject-anna");
                run.node("load").branch("miss");
                Err("token=sk-live-0123456789abcdefghijklmnop password=hunter3".to_owned())
            });
        }
    }

    fn lost(telemetry: &Telemetry, reason: &str) -> f64 {
        let labels = [("signal", "errors"), ("reason", reason)];
        total(&telemetry.snapshot().unwrap(), "obs.export.dropped", &labels)
    }

    /// The lines of an envelope.
    fn lines(request: &Request) -> Vec<Json> {
        let text = String::from_utf8(request.body.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn errors_of(report: &Report) -> &obs::SignalReport {
        report.signals.iter().find(|signal| signal.signal == "errors").unwrap()
    }

    #[test]
    fn failed_panicked_and_timed_out_runs_arrive_and_ok_ones_do_not() {
        let server = FakeCollector::start();
        let telemetry = builder(&server.url())
            .resource_attribute("deployment.environment.name", "staging")
            .resource_attribute("service.version", "1.4.0")
            .service_name("orders")
            .init()
            .unwrap();
        let strategy = telemetry.kind("dsl").strategy("bonus").version("3").build().unwrap();
        let _: Result<(), String> = strategy.observe(&(), |_| Ok(()));
        fail(&telemetry, 1);
        let panics = std::panic::AssertUnwindSafe(|| {
            let _: Result<(), String> = strategy.observe(&(), |_| panic!("boom"));
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        let _: Result<(), obs::RunFailure> =
            strategy.observe(&(), |_| Err(obs::RunFailure::timeout("db.timeout")));
        let report = telemetry.flush_blocking(PATIENCE);
        assert_eq!((errors_of(&report).lost, &errors_of(&report).failure), (0, &None), "{report}");
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        let heads = requests.iter().all(|request| {
            request.head.starts_with("post /api/42/envelope/ http/1.1")
                && request.head.contains("content-type: application/x-sentry-envelope")
                && request.head.contains(&format!("sentry_key={KEY}"))
        });
        assert!(heads, "{}", requests[0].head);
        let how: Vec<_> = requests
            .iter()
            .map(|request| lines(request)[2]["exception"]["values"][0]["mechanism"]["type"].clone())
            .collect();
        assert_eq!(how, ["error", "panicked", "timeout"]);
        let event = &lines(&requests[0])[2];
        assert_eq!(
            (&event["environment"], &event["release"]),
            (&"staging".into(), &"orders@1.4.0".into())
        );
        assert_eq!(event["fingerprint"].as_array().unwrap().len(), 4);
        assert!(!telemetry.shutdown_blocking(PATIENCE).to_string().contains("lost"));
    }

    #[test]
    fn no_envelope_has_a_secret_a_subject_or_an_input_and_the_last_two_only_where_they_were_asked_for()
     {
        for asked in [false, true] {
            let server = FakeCollector::start();
            let environment = if asked { "true" } else { "false" };
            let telemetry = builder(&server.url())
                .environment([("OBS_SENTRY_PERSONAL_DATA", environment)].into_iter().collect())
                .init()
                .unwrap();
            fail(&telemetry, 1);
            let _ = telemetry.shutdown_blocking(PATIENCE);
            let body = String::from_utf8(server.requests()[0].body.clone()).unwrap();
            for secret in ["sk-live-0123456789", "hunter3", KEY] {
                assert!(!body.contains(secret), "{secret}: {body}");
            }
            for personal in ["subject-anna", "input-of-anna"] {
                assert_eq!(body.contains(personal), asked, "{personal}: {body}");
            }
        }
    }

    #[test]
    fn a_share_of_traces_arrives_as_transactions() {
        let server = FakeCollector::start();
        let variables = [("OBS_SENTRY_TRACE_RATE", "1"), ("OBS_SAMPLE_RATE", "1")];
        let telemetry = metrics_only()
            .environment(variables.into_iter().collect())
            .sentry(dsn(&server.url()))
            .init()
            .unwrap();
        let strategy = telemetry.kind("dsl").strategy("bonus").version("3").build().unwrap();
        let _: Result<(), String> = strategy.observe(&(), |run| {
            run.node("load");
            Ok(())
        });
        let _ = telemetry.shutdown_blocking(PATIENCE);
        let lines = lines(&server.requests()[0]);
        assert_eq!(
            (&lines[1]["type"], &lines[2]["transaction"]),
            (&"transaction".into(), &"dsl bonus".into())
        );
        assert_eq!(lines[2]["spans"][0]["description"], "load");
    }

    #[test]
    fn a_server_that_is_away_costs_reports_that_are_counted_and_one_that_comes_back_gets_the_rest()
    {
        let port = free_port();
        let telemetry = builder(&format!("http://127.0.0.1:{port}")).init().unwrap();
        fail(&telemetry, 20);
        until("a batch is given up", || {
            let report = telemetry.flush_blocking(PATIENCE);
            assert!(errors_of(&report).failure.is_some(), "{report}");
            assert!(!report.to_string().contains(KEY), "{report}");
            (lost(&telemetry, "export") >= 16.0).then_some(())
        });
        let labels = [("signal", "errors")];
        let failures = total(&telemetry.snapshot().unwrap(), "obs.export.failures", &labels);
        assert!(failures >= 3.0, "{failures}");
        let _ = telemetry.shutdown_blocking(PATIENCE);
        until("the rest is counted, too", || {
            let all = lost(&telemetry, "export") + lost(&telemetry, "shutdown");
            (all == 20.0).then_some(())
        });
    }

    #[test]
    fn reports_that_arrived_before_a_failure_are_not_sent_again() {
        let server = FakeCollector::start();
        let telemetry = builder(&server.url()).init().unwrap();
        fail(&telemetry, 1);
        let _ = telemetry.flush_blocking(PATIENCE);
        let small = server.requests()[0].body.len();
        server.refuse_larger_than(small + 1_000);
        fail(&telemetry, 1);
        let large: Result<(), String> = telemetry
            .kind("dsl")
            .lookup("bonus", "3")
            .observe(&(), |_| Err("so long ".repeat(400)));
        assert!(large.is_err());
        assert!(errors_of(&telemetry.flush_blocking(PATIENCE)).failure.is_some());
        assert_eq!(server.requests().len(), 3);
        server.refuse_larger_than(usize::MAX);
        assert!(errors_of(&telemetry.flush_blocking(PATIENCE)).failure.is_none());
        assert_eq!(server.requests().len(), 4, "only the one that failed is sent again");
        assert_eq!(errors_of(&telemetry.shutdown_blocking(PATIENCE)).lost, 0);
    }

    /// A server that takes so many reports, and holds the next one and those behind it until it is open.
    struct Gate {
        server: Server,
        inside: Arc<Inside>,
    }

    #[derive(Default)]
    struct Inside {
        taken: Mutex<Vec<Request>>,
        held: Mutex<Vec<TcpStream>>,
        is_open: AtomicBool,
    }

    impl Gate {
        fn start(takes: usize) -> Self {
            let inside = Arc::<Inside>::default();
            let gate = Arc::clone(&inside);
            let server = Server::start(move |mut stream| {
                let is_open = gate.is_open.load(Ordering::SeqCst);
                if !is_open && gate.taken.lock().unwrap().len() == takes {
                    gate.held.lock().unwrap().push(stream);
                    return;
                }
                let Some(request) = read_request(&stream) else { return };
                gate.taken.lock().unwrap().push(request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            });
            Self { server, inside }
        }

        fn url(&self) -> String {
            format!("http://{}", self.server.address)
        }

        fn open(&self) {
            self.inside.is_open.store(true, Ordering::SeqCst);
        }

        fn holds_one(&self) -> bool {
            !self.inside.held.lock().unwrap().is_empty()
        }

        fn requests(&self) -> Vec<Request> {
            self.inside.taken.lock().unwrap().clone()
        }
    }

    #[test]
    fn a_batch_that_the_deadline_cuts_goes_on_where_it_was_and_nothing_is_sent_or_counted_twice() {
        let gate = Gate::start(4);
        let telemetry = builder(&gate.url()).init().unwrap();
        fail(&telemetry, 15);
        for _ in 0..4 {
            let report = telemetry.flush_blocking(Duration::from_secs(1));
            assert!(errors_of(&report).failure.is_some(), "{report}");
            if gate.holds_one() {
                break;
            }
        }
        gate.open();
        let report = telemetry.shutdown_blocking(PATIENCE);
        assert_eq!((errors_of(&report).lost, &errors_of(&report).failure), (0, &None), "{report}");
        let sent = gate.requests();
        let ids: BTreeSet<_> = sent.iter().map(|it| lines(it)[0]["event_id"].to_string()).collect();
        assert_eq!((sent.len(), ids.len()), (15, 15), "each once");
    }

    #[test]
    fn reports_that_arrived_before_the_end_are_not_among_the_lost() {
        let gate = Gate::start(4);
        let telemetry = builder(&gate.url()).init().unwrap();
        // A batch, which leaves at once.
        fail(&telemetry, 16);
        until("the fifth is on its way", || gate.holds_one().then_some(()));
        let (report, took) = timed(|| telemetry.shutdown_blocking(Duration::from_secs(2)));
        assert!(errors_of(&report).failure.is_some(), "{report}");
        // There are no metrics that would need a part of it.
        assert!(took >= Duration::from_millis(1_900), "{took:?}");
        let counted = || lost(&telemetry, "shutdown") + lost(&telemetry, "export");
        until("what is left is counted", || (counted() > 0.0).then_some(()));
        assert_eq!((gate.requests().len(), counted()), (4, 12.0));
    }

    #[test]
    fn a_server_that_has_enough_is_left_alone_and_what_it_misses_is_counted() {
        let server = FakeCollector::start();
        let telemetry = builder(&server.url()).init().unwrap();
        server.answer_with(429);
        server.answer_header("X-Sentry-Rate-Limits", "600:error:organization:quota");
        fail(&telemetry, 5);
        let report = telemetry.flush_blocking(PATIENCE);
        assert_eq!(server.requests().len(), 1, "it is asked once");
        assert_eq!(
            (errors_of(&report).lost, lost(&telemetry, "rate_limited")),
            (5, 5.0),
            "{report}"
        );
        server.answer_with(200);
        fail(&telemetry, 1);
        let _ = telemetry.flush_blocking(PATIENCE);
        assert_eq!((server.requests().len(), lost(&telemetry, "rate_limited")), (1, 6.0));
        let _ = telemetry.shutdown_blocking(PATIENCE);
    }

    #[test]
    fn a_report_that_is_refused_for_itself_is_counted_and_the_next_one_is_sent() {
        let server = FakeCollector::start();
        let telemetry = builder(&server.url()).init().unwrap();
        server.answer_with(413);
        fail(&telemetry, 2);
        let report = telemetry.flush_blocking(PATIENCE);
        assert_eq!((errors_of(&report).lost, &errors_of(&report).failure), (2, &None));
        assert_eq!((server.requests().len(), lost(&telemetry, "export")), (2, 2.0));
        server.answer_with(403);
        fail(&telemetry, 2);
        let report = telemetry.flush_blocking(PATIENCE);
        let failure = errors_of(&report).failure.clone().unwrap();
        assert!(failure.contains("HTTP 403") && !failure.contains(KEY), "{failure}");
        assert_eq!(lost(&telemetry, "export"), 4.0, "another key would be needed");
        let _ = telemetry.shutdown_blocking(PATIENCE);
    }

    #[test]
    fn a_storm_is_bounded_in_the_queue_and_by_the_minute_and_every_loss_is_counted() {
        let server = Stalled::start();
        let telemetry = builder(&format!("http://127.0.0.1:{}", server.port())).init().unwrap();
        let ((), took) = timed(|| fail(&telemetry, 2_000));
        assert!(took < Duration::from_secs(10), "the caller waited: {took:?}");
        let counted = lost(&telemetry, "queue_full") + lost(&telemetry, "rate");
        assert_eq!(lost(&telemetry, "rate"), 1_700.0);
        assert!(counted >= 1_700.0, "{counted}");
        let (report, took) = timed(|| telemetry.shutdown_blocking(Duration::from_millis(300)));
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(errors_of(&report).failure.is_some(), "{report}");
        let all = || -> f64 {
            ["queue_full", "rate", "shutdown", "export"]
                .map(|reason| lost(&telemetry, reason))
                .iter()
                .sum()
        };
        until("every report is counted", || (all() == 2_000.0).then_some(()));
        assert_eq!(telemetry.ledger().imbalance(), 0);
    }

    #[test]
    fn nothing_is_exported_where_that_is_switched_off() {
        let server = FakeCollector::start();
        let telemetry = builder(&server.url())
            .environment([("OTEL_SDK_DISABLED", "true")].into_iter().collect())
            .init()
            .unwrap();
        fail(&telemetry, 1);
        let report = telemetry.shutdown_blocking(PATIENCE);
        assert!(report.signals.is_empty() && server.requests().is_empty(), "{report}");
    }

    /// A server behind TLS that takes everything.
    fn behind_tls(certificates: &Certificates) -> (Server, Arc<Mutex<Vec<Request>>>) {
        let chain = CertificateDer::pem_file_iter(&certificates.server).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&certificates.server_key).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, requests) = (Arc::new(config), Arc::<Mutex<Vec<Request>>>::default());
        let taken = Arc::clone(&requests);
        let server = Server::start(move |mut stream| {
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::Stream::new(&mut session, &mut stream);
            let Some(request) = read_request(&mut stream) else { return };
            taken.lock().unwrap().push(request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        });
        (server, requests)
    }

    #[test]
    fn over_tls_only_a_server_that_is_trusted_gets_reports() {
        let certificates = Certificates::new();
        let (server, requests) = behind_tls(&certificates);
        let dsn = format!("https://{KEY}@localhost:{}/42", server.address.port());
        let reported = |authority: &std::path::Path| {
            let variables = [("OBS_SENTRY_CERTIFICATE", authority.as_os_str())];
            let environment = obs::Environment::from_iter(variables);
            let telemetry = metrics_only().environment(environment).sentry(&dsn).init()?;
            fail(&telemetry, 1);
            Ok::<_, obs::InitError>(telemetry.shutdown_blocking(PATIENCE))
        };
        let report = reported(&certificates.authority).unwrap();
        assert_eq!((errors_of(&report).lost, &errors_of(&report).failure), (0, &None), "{report}");
        assert_eq!(requests.lock().unwrap().len(), 1);

        let report = reported(&Certificates::new().authority).unwrap();
        assert!(errors_of(&report).failure.is_some(), "{report}");
        assert_eq!(requests.lock().unwrap().len(), 1, "a stranger is told nothing");

        let tried_out = |authority: &std::path::Path| {
            let variables = [
                ("OBS_SENTRY_CERTIFICATE", authority.as_os_str()),
                ("OBS_SENTRY_DSN", dsn.as_ref()),
                ("OBS_ENABLED", "false".as_ref()),
            ];
            let environment = obs::Environment::from_iter(variables);
            let settings = obs::Configuration::read(None, &environment).unwrap();
            settings.destinations().last().unwrap().try_out(PATIENCE)
        };
        assert_eq!(tried_out(&certificates.authority), Ok("a report was sent and taken"));
        assert_eq!(requests.lock().unwrap().len(), 2);
        let unreached = tried_out(&Certificates::new().authority).unwrap_err();
        assert_eq!(unreached.hop, "the TLS handshake", "{unreached}");
        assert!(unreached.reason.contains("look at OBS_SENTRY_CERTIFICATE"), "{unreached}");
        assert!(!unreached.reason.contains("OTEL"), "{unreached}");

        let error = reported("nowhere.pem".as_ref()).unwrap_err().to_string();
        assert!(error.starts_with("OBS_SENTRY_CERTIFICATE=\"nowhere.pem\""), "{error}");
    }

    #[test]
    fn a_report_has_the_id_of_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let server = FakeCollector::start();
        let telemetry = obs::builder()
            .environment(obs::Environment::empty())
            .store(format!("sqlite:{}/rows.sqlite", folder.path().display()))
            .sentry(dsn(&server.url()))
            .init()
            .unwrap();
        fail(&telemetry, 1);
        let report = telemetry.shutdown_blocking(PATIENCE);
        assert_eq!(telemetry.ledger().error.persisted, 1, "{report}");
        let event = &lines(&server.requests()[0])[2];
        let id = event["contexts"]["run"]["run_id"].as_str().unwrap().replace('-', "");
        assert_eq!(event["event_id"], id);
        let trace = event["contexts"]["trace"]["trace_id"].as_str().unwrap();
        assert_eq!(trace.len(), 32);
    }
}
