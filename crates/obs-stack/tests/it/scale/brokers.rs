//! Three Kafka brokers, which are their own controllers, and Kafka's tools.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;

use crate::{
    ports::free_port,
    programs::KAFKA,
    stack::{Process, until_within},
};

pub(super) const TOPIC: &str = "obs.runs";
/// Where `kafka.yaml` sends to is made like this: what was acknowledged is on two disks at least.
const REPLICAS: u16 = 3;
const IN_SYNC_MIN: u16 = 2;
const PARTITIONS: u16 = 3;
/// Brokers, which are controllers, too.
const NODES: usize = 3;
/// Enough for a few thousand events a second; three of them and a tool fit beside everything else.
const HEAP: &str = "-Xmx256m";
/// Of the cluster: any will do, they do not meet.
const CLUSTER: &str = "b2JzLXNjYWxlLXRlc3Rz";
/// Between two messages that a consumer prints.
const SEPARATOR: &str = "<end-of-an-obs-message>";
/// How long a consumer waits for another message before it ends.
const IDLE_MS: &str = "8000";
/// For brokers to find each other, and to bring a replica up to date, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Brokers that end with it.
pub(super) struct Brokers {
    jars: PathBuf,
    folder: PathBuf,
    ports: [u16; NODES],
    nodes: Vec<Process>,
    _temporary: tempfile::TempDir,
}

impl Brokers {
    /// A cluster with the topic. `None` only if whoever runs the tests has said to go without.
    pub(super) fn start() -> Option<Self> {
        let jars = KAFKA.find()?;
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let ports = [(); NODES].map(|()| free_port());
        let controllers = [(); NODES].map(|()| free_port());
        let mut brokers = Self { jars, folder, ports, nodes: Vec::new(), _temporary: temporary };
        for node in 0..NODES {
            let settings = brokers.settings(node, &controllers);
            let storage = ["format", "--cluster-id", CLUSTER, "--config"].map(str::to_owned);
            let storage = storage.into_iter().chain([settings.display().to_string()]);
            brokers.tool("kafka.tools.StorageTool", storage).unwrap();
            let arguments = brokers.java("kafka.Kafka", [settings.display().to_string()]);
            let name = format!("broker-{node}");
            let java = Path::new("java");
            brokers.nodes.push(Process::start(&name, java, &arguments, &[], &brokers.folder));
        }
        brokers.make_topic();
        Some(brokers)
    }

    /// The properties of a node: as three machines would have them, but for the address and what saves memory and time.
    fn settings(&self, node: usize, controllers: &[u16; NODES]) -> PathBuf {
        let voters: Vec<_> = controllers
            .iter()
            .enumerate()
            .map(|(voter, port)| format!("{voter}@127.0.0.1:{port}"))
            .collect();
        let (port, controller) = (self.ports[node], controllers[node]);
        let data = self.folder.join(format!("data-{node}"));
        let text = format!(
            "process.roles=broker,controller\n\
             node.id={node}\n\
             controller.quorum.voters={voters}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             unclean.leader.election.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor={IN_SYNC_MIN}\n\
             group.initial.rebalance.delay.ms=0\n\
             num.network.threads=2\n\
             num.io.threads=2\n\
             log.cleaner.dedupe.buffer.size=8388608\n",
            voters = voters.join(","),
            data = data.display(),
        );
        let path = self.folder.join(format!("broker-{node}.properties"));
        fs::write(&path, text).unwrap();
        path
    }

    fn make_topic(&self) {
        let [replicas, partitions] = [REPLICAS, PARTITIONS].map(|count| count.to_string());
        let in_sync = format!("min.insync.replicas={IN_SYNC_MIN}");
        let make = ["--create", "--if-not-exists", "--topic", TOPIC, "--config", &in_sync];
        let shape = ["--replication-factor", &replicas, "--partitions", &partitions];
        let said = RefCell::new(String::new());
        until_within(
            PATIENCE,
            || format!("the topic: {}", said.borrow()),
            || {
                let made = self.topics(make.iter().chain(&shape));
                made.map_err(|error| *said.borrow_mut() = error).ok()
            },
        );
        self.wait_until_in_sync();
    }

    /// Every replica of every partition has everything.
    pub(super) fn wait_until_in_sync(&self) {
        self.wait_for_partitions("--under-replicated-partitions", |behind| behind == 0);
    }

    /// Those that there are know that one is gone, and lead what it led.
    pub(super) fn wait_until_taken_over(&self) {
        self.wait_for_partitions("--under-replicated-partitions", |behind| behind > 0);
        self.wait_for_partitions("--unavailable-partitions", |headless| headless == 0);
    }

    fn wait_for_partitions(&self, which: &str, is_so: impl Fn(usize) -> bool) {
        let last = RefCell::new(String::new());
        until_within(
            PATIENCE,
            || format!("{which}: {}", last.borrow()),
            || {
                let said = self.topics(["--describe", "--topic", TOPIC, which].iter());
                let (Ok(text) | Err(text)) = &said;
                last.borrow_mut().clone_from(text);
                let lines = said.ok()?.lines().filter(|line| !line.trim().is_empty()).count();
                is_so(lines).then_some(())
            },
        );
    }

    /// For `OBS_COLLECTOR_KAFKA`.
    pub(super) fn as_setting(&self) -> String {
        format!("[{}]", self.ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", "))
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    pub(super) fn start_again(&mut self, node: usize) {
        self.nodes[node].start_again();
    }

    /// Every message of the topic, as a consumer gets it from the brokers that there are.
    pub(super) fn messages(&self) -> Vec<ExportLogsServiceRequest> {
        let separator = format!("line.separator={SEPARATOR}");
        let servers = self.servers();
        let arguments = ["--bootstrap-server", &servers, "--topic", TOPIC, "--from-beginning"];
        let bounds = ["--timeout-ms", IDLE_MS, "--property", &separator];
        let arguments = arguments.iter().chain(&bounds).map(|argument| (*argument).to_owned());
        let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
        // It says so when nothing more came, and calls that an error.
        let Output { stdout, .. } = self.command(class, arguments).output().unwrap();
        let mut messages = Vec::new();
        let mut rest = &stdout[..];
        while let Some(end) = find(rest, SEPARATOR.as_bytes()) {
            messages.push(ExportLogsServiceRequest::decode(&rest[..end]).unwrap());
            rest = &rest[end + SEPARATOR.len()..];
        }
        messages
    }

    fn topics<'a>(&self, arguments: impl Iterator<Item = &'a &'a str>) -> Result<String, String> {
        let servers = ["--bootstrap-server".to_owned(), self.servers()];
        let arguments = arguments.map(|argument| (*argument).to_owned());
        self.tool("org.apache.kafka.tools.TopicCommand", servers.into_iter().chain(arguments))
    }

    fn servers(&self) -> String {
        self.ports.map(|port| format!("127.0.0.1:{port}")).join(",")
    }

    /// Its standard output, or all that it said if it failed.
    fn tool(
        &self,
        class: &str,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<String, String> {
        let Output { status, stdout, stderr } = self.command(class, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&stdout).into_owned();
        let complained = String::from_utf8_lossy(&stderr);
        if status.success() { Ok(said) } else { Err(format!("{said}{complained}")) }
    }

    fn command(&self, class: &str, arguments: impl IntoIterator<Item = String>) -> Command {
        let mut command = Command::new("java");
        command.args(self.java(class, arguments)).stdin(Stdio::null());
        command
    }

    fn java(&self, class: &str, arguments: impl IntoIterator<Item = String>) -> Vec<String> {
        let own = [
            HEAP.to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", self.jars.display()),
            class.to_owned(),
        ];
        own.into_iter().chain(arguments).collect()
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
