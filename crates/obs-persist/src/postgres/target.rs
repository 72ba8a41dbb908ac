//! Where a Postgres server is and how to talk to it, read from its address.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use obs_core::Escaped;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use super::places::Place;

/// How long connecting may take, address by address, unless the address says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long sent bytes may stay unacknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a silent connection is left alone.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// What the server enforces by itself, so that a client that vanished holds nothing for long.
const SERVER_TIMEOUTS: &str = "-c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=30s \
     -c default_transaction_isolation=read\\ committed";

/// Our schema and nothing else, so that nobody's objects are mistaken for ours. Last, so that the
/// address cannot change it.
const SEARCH_PATH: &str = "-c search_path=obs,pg_temp";

/// Where a server listens, unless the address says otherwise.
pub(super) const PORT: u16 = 5432;

/// A server, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) config: Config,
    /// The same without any options, for poolers that take none.
    pub(crate) plain: Config,
    pub(crate) tls: Tls,
}

/// Whether the connection is encrypted. There is no "if the server likes": either the server is
/// proven to be the right one, or nothing is encrypted and somebody said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Off,
    /// Certificate and host name are verified, against a file of roots or the system's.
    Verified {
        roots: Option<PathBuf>,
    },
}

/// What is wrong with an address, and the way out; never the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetError(pub(crate) String);

impl Target {
    /// Reads `postgres://…`.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let Parts { rest, ssl_mode, ssl_roots, options } = split(url)?;
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            // The cause names a parameter, never its value.
            let cause =
                std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            TargetError(format!(
                "is malformed ({cause}): write postgres://USER:PASSWORD@HOST:5432/DATABASE"
            ))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return refuse("names no host: write postgres://USER:PASSWORD@HOST:5432/DATABASE");
        }
        have_partners(&config)?;
        let tls = match ssl_mode.as_deref() {
            None if is_local(&config) => Tls::Off,
            Some("disable") => Tls::Off,
            // `require` and `verify-ca` ask for less; verifying more is no harm to them.
            None | Some("require" | "verify-ca" | "verify-full") => {
                Tls::Verified { roots: ssl_roots }
            }
            Some("prefer" | "allow") => {
                return refuse(
                    "asks for encryption only if the server likes, which protects from nobody: \
                     use sslmode=verify-full, or sslmode=disable",
                );
            }
            Some(other) => {
                return refuse(format!(
                    "has sslmode={other}: use sslmode=verify-full, or sslmode=disable"
                ));
            }
        };
        config.ssl_mode(if tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
        set_defaults(&mut config);
        let plain = config.clone();
        set_options(&mut config, options);
        Ok(Self { config, plain, tls })
    }

    /// Whether rows leave the machine unencrypted.
    pub(crate) fn is_exposed(&self) -> bool {
        self.tls == Tls::Off && !is_local(&self.config)
    }

    /// How long connecting may take, to each place where the server may be.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
    }

    /// The same server, to be reached at one place only.
    pub(super) fn only(&self, place: &Place) -> Self {
        let Self { config, plain, tls } = self;
        Self { config: place.only(config), plain: place.only(plain), tls: tls.clone() }
    }
}

/// Which host has which address and port must be clear.
fn have_partners(config: &Config) -> Result<(), TargetError> {
    let hosts = config.get_hosts().len();
    let (addresses, ports) = (config.get_hostaddrs().len(), config.get_ports().len());
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return refuse(format!(
            "names {hosts} hosts and {addresses} addresses (hostaddr): give each host one, or leave hostaddr out"
        ));
    }
    let places = hosts.max(addresses);
    if ports > 1 && ports != places {
        return refuse(format!(
            "names {ports} ports for {places} hosts: give each host one, as in HOST:5432,HOST:5433"
        ));
    }
    Ok(())
}

fn set_defaults(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("obs-persist");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    config.keepalives_idle(KEEPALIVE_IDLE);
}

fn set_options(config: &mut Config, own: Option<String>) {
    let own = own.unwrap_or_default();
    let options = format!("{SERVER_TIMEOUTS} {own} {SEARCH_PATH}");
    config.options(options);
}

/// Whether every host is this machine.
fn is_local(config: &Config) -> bool {
    let is_loopback =
        |name: &str| name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => is_loopback(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// An address without the two parameters that tokio-postgres does not know in full, and without the
/// one that not every connection gets.
struct Parts {
    rest: String,
    ssl_mode: Option<String>,
    ssl_roots: Option<PathBuf>,
    options: Option<String>,
}

fn split(url: &str) -> Result<Parts, TargetError> {
    // A question mark in a password is part of it: parameters begin behind the credentials.
    let credentials = url.find('@').unwrap_or(0);
    let behind = url.get(credentials..).unwrap_or_default();
    let Some((front, query)) = behind.split_once('?') else {
        return Ok(Parts { rest: url.to_owned(), ssl_mode: None, ssl_roots: None, options: None });
    };
    let (mut ssl_mode, mut ssl_roots, mut options, mut others) = (None, None, None, Vec::new());
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key {
            "sslmode" => ssl_mode = Some(value.to_owned()),
            "sslrootcert" if value == "system" => {}
            "sslrootcert" => ssl_roots = Some(PathBuf::from(percent_decoded(value))),
            "options" => options = Some(percent_decoded(value)),
            key if KNOWN.contains(&key) => others.push(parameter),
            key => {
                return refuse(format!(
                    "has the unknown parameter `{}`: leave it out; known are sslmode, sslrootcert, {}",
                    shown(key),
                    KNOWN.join(", ")
                ));
            }
        }
    }
    let mut rest = format!("{}{front}", url.get(..credentials).unwrap_or_default());
    if !others.is_empty() {
        rest = format!("{rest}?{}", others.join("&"));
    }
    Ok(Parts { rest, ssl_mode, ssl_roots, options })
}

/// The parameters that tokio-postgres knows.
const KNOWN: [&str; 16] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "tcp_user_timeout",
    "user",
];

/// A name, as far as it can be shown: what is not a name may be part of a password.
fn shown(key: &str) -> &str {
    const SHOWN_MAX: usize = 32;
    let is_name =
        key.len() <= SHOWN_MAX && key.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    if is_name { key } else { "…" }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let decoded = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, TargetError> {
    Err(TargetError(problem.into()))
}

/// The address without its password and parameters.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(f, "{}@", Escaped(user))?;
        }
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.to_string_lossy().replace('/', "%2F"),
        });
        for (at, host) in hosts.enumerate() {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(PORT);
            write!(f, "{}{}:{port}", if at == 0 { "" } else { "," }, Escaped(&host))?;
        }
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{}", Escaped(name)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self}, {:?})", self.tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(url: &str) -> Tls {
        Target::parse(url).unwrap().tls
    }

    #[test]
    fn hosts_that_are_not_local_get_verified_tls_unless_somebody_says_no() {
        let verified = Tls::Verified { roots: None };
        let table = [
            ("postgres://a@localhost/g", Tls::Off),
            ("postgres://a@127.0.0.1/g", Tls::Off),
            ("postgres://a@127.9.9.9/g", Tls::Off),
            ("postgres://a@[::1]/g", Tls::Off),
            ("postgres://a@%2Frun%2Fpostgresql/g", Tls::Off),
            ("postgres://a@localhost/g?sslmode=require", verified.clone()),
            ("postgres://a@db/g", verified.clone()),
            ("postgres://a@10.0.0.1/g", verified.clone()),
            ("postgres://a@localhost,db/g", verified.clone()),
            ("postgres://a@localhost/g?hostaddr=10.0.0.1", verified.clone()),
            ("postgres://a@localhost.example.com/g", verified.clone()),
            ("postgres://a@db/g?sslmode=verify-ca", verified.clone()),
            ("postgres://a@db/g?sslmode=verify-full&sslrootcert=system", verified),
            ("postgres://a@db/g?sslmode=disable", Tls::Off),
            (
                "postgres://a@db/g?sslrootcert=%2Fetc%2Fca.pem",
                Tls::Verified { roots: Some(PathBuf::from("/etc/ca.pem")) },
            ),
        ];
        for (url, expected) in table {
            assert_eq!(tls(url), expected, "{url}");
        }
    }

    #[test]
    fn only_plaintext_to_another_machine_is_worth_a_warning() {
        let exposed = |url| Target::parse(url).unwrap().is_exposed();
        assert!(exposed("postgres://a@db/g?sslmode=disable"));
        assert!(!exposed("postgres://a@localhost/g"));
        assert!(!exposed("postgres://a@db/g"));
    }

    #[test]
    fn the_connection_says_who_it_is_and_has_timeouts_and_our_schema() {
        let target = Target::parse("postgres://a@db/g").unwrap();
        assert_eq!(target.config.get_application_name(), Some("obs-persist"));
        assert_eq!(target.config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        assert_eq!(target.config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        let options = target.config.get_options().unwrap();
        for part in
            ["statement_timeout=10s", "lock_timeout=2s", "idle_in_transaction_session_timeout=30s"]
        {
            assert!(options.contains(part), "{options}");
        }
        assert!(options.ends_with("search_path=obs,pg_temp"), "{options}");

        let own = "postgres://a@db/g?application_name=x&options=-c%20search_path%3Devil&connect_timeout=1";
        let target = Target::parse(own).unwrap();
        assert_eq!(target.config.get_application_name(), Some("x"));
        assert_eq!(target.connect_timeout(), Duration::from_secs(1));
        assert!(target.config.get_options().unwrap().ends_with("search_path=obs,pg_temp"));
    }

    #[test]
    fn a_question_mark_in_a_password_is_not_the_begin_of_the_parameters() {
        let target = Target::parse("postgres://a:p?sslmode=prefer&x@db/g?sslmode=disable").unwrap();
        assert_eq!(target.config.get_password(), Some(&b"p?sslmode=prefer&x"[..]));
        assert_eq!(target.tls, Tls::Off);
    }

    #[test]
    fn percent_signs_that_mean_nothing_stay() {
        assert_eq!(percent_decoded("%2Fa%zz%4"), "/a%zz%4");
    }
}
