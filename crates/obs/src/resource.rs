//! Who we are, as every export says it.

use std::{collections::BTreeMap, fs, path::Path};

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};
use uuid::Uuid;

use crate::{
    config::{Checked, model::Resource as Attributes},
    logs::Origin,
};

const SERVICE_NAME: &str = "service.name";
const INSTANCE_ID: &str = "service.instance.id";

/// Our own resource: the SDK's lets `OTEL_RESOURCE_ATTRIBUTES` win over `OTEL_SERVICE_NAME`,
/// decodes nothing, and gives no instance id.
pub(crate) fn resource(config: &Checked, epoch: Uuid) -> Resource {
    let attributes = attributes(&config.model.resource, epoch, executable(), host());
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// Who log lines are of.
pub(crate) fn origin(resource: &Resource) -> Origin {
    let text = |key: &'static str| {
        resource.get(&Key::from_static_str(key)).map(|value| value.to_string()).unwrap_or_default()
    };
    Origin { service: text(SERVICE_NAME), instance: text(INSTANCE_ID) }
}

fn attributes(
    resource: &Attributes,
    epoch: Uuid,
    executable: Option<String>,
    host: Option<String>,
) -> BTreeMap<String, Value> {
    let executable = executable
        .map_or_else(|| "unknown_service".to_owned(), |name| format!("unknown_service:{name}"));
    let mut attributes = BTreeMap::from([
        (SERVICE_NAME.to_owned(), executable.into()),
        (INSTANCE_ID.to_owned(), epoch.to_string().into()),
    ]);
    attributes.extend(host.map(|host| ("host.name".to_owned(), host.into())));
    attributes.extend(resource.attributes.clone());
    attributes
        .extend(resource.service_name.clone().map(|name| (SERVICE_NAME.to_owned(), name.into())));
    let distro = [("name", "obs"), ("version", env!("CARGO_PKG_VERSION"))];
    attributes.extend(distro.map(|(key, value)| (format!("telemetry.distro.{key}"), value.into())));
    attributes
}

fn executable() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// The host's name where a file tells it; elsewhere a Collector's resource detector can.
fn host() -> Option<String> {
    let name = fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Given, check};

    fn resource_of(variables: &[(&str, &str)]) -> BTreeMap<String, Value> {
        let environment: Environment = variables.iter().copied().collect();
        let config = check(&Given::default(), &environment).unwrap();
        attributes(&config.model.resource, Uuid::from_u128(7), Some("app".to_owned()), None)
    }

    #[test]
    fn without_a_name_the_service_is_unknown_but_for_its_executable() {
        assert_eq!(resource_of(&[])["service.name"].as_str(), "unknown_service:app");
    }

    #[test]
    fn the_service_name_variable_wins_over_the_resource_attributes() {
        let both = [
            ("OTEL_SERVICE_NAME", "orders"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,a=b%20c"),
        ];
        let attributes = resource_of(&both);
        assert_eq!(attributes["service.name"].as_str(), "orders");
        assert_eq!(attributes["a"].as_str(), "b c");
    }

    #[test]
    fn the_instance_id_is_the_epoch_unless_configured() {
        assert_eq!(resource_of(&[])[INSTANCE_ID].as_str(), Uuid::from_u128(7).to_string());
        let configured = [("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-3")];
        assert_eq!(resource_of(&configured)[INSTANCE_ID].as_str(), "pod-3");
    }
}
