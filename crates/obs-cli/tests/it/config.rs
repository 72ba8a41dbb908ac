//! `obs config` as an operator calls it.

use std::fs;

use crate::support::Operator;

const FILE: &str = "file_format: \"1.0\"
meter_provider:
  readers:
    - periodic:
        exporter:
          otlp_http:
            endpoint: ${COLLECTOR}/v1/metrics
            headers: [{ name: x-key, value: hunter2 }]
obs:
  store: { url: \"postgres://me:hunter2@db/obs\" }
";

#[test]
fn a_good_file_is_good_and_shown_it_is_good_again_without_its_secrets() {
    let operator = Operator::new()
        .with("COLLECTOR", "http://collector:4318")
        .with("OTEL_SERVICE_NAME", "orders")
        .with("OBS_SAMPLE_RATE", "0.5");
    fs::write(operator.path("obs.yaml"), FILE).unwrap();
    let said = operator.call(&["config", "check", "obs.yaml"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(
        said.out,
        "obs.yaml: good; set, and without effect because the file does not refer to them: OTEL_SERVICE_NAME\n"
    );
    let shown = operator.call(&["config", "show", "obs.yaml"]);
    assert_eq!((shown.code, &*shown.err), (0, ""), "{shown:?}");
    assert!(shown.out.contains("endpoint: \"http://collector:4318/v1/metrics\""), "{}", shown.out);
    assert!(shown.out.contains("sample_rate: 0.5"), "{}", shown.out);
    assert!(!shown.out.contains("hunter2"), "{}", shown.out);
    fs::write(operator.path("shown.yaml"), &shown.out).unwrap();
    let named = operator.with("OTEL_CONFIG_FILE", "shown.yaml");
    assert_eq!(named.call(&["config", "show"]).out, shown.out);
}

#[test]
fn a_bad_file_is_refused_with_exit_code_2_and_the_line_on_standard_error() {
    let operator = Operator::new();
    fs::write(operator.path("obs.yaml"), FILE.replace("endpoint: ${COLLECTOR}", "endpont: x"))
        .unwrap();
    for arguments in [["config", "check", "obs.yaml"], ["config", "show", "obs.yaml"]] {
        let said = operator.call(&arguments);
        assert_eq!((said.code, &*said.out), (2, ""), "{said:?}");
        assert_eq!(
            said.err,
            "obs: obs.yaml:7: meter_provider.readers[0].periodic.exporter.otlp_http.endpont is not a key here: \
             did you mean endpoint? Rename or leave it out\n"
        );
    }
    let missing = operator.call(&["config", "check", "nowhere.yaml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("nowhere.yaml\": cannot be read"), "{missing:?}");
}

#[test]
fn the_schema_is_json() {
    let said = Operator::new().call(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["file_format"]));
}
