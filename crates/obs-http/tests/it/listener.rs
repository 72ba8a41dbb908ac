//! The small listener, through real sockets.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::Duration,
};

use obs_http::{Access, Endpoints, ListenError, ListenerLimits, Listening};
use tokio::runtime::Runtime;

use crate::support::{LONG, ask, connect, header, until};

const TOKEN: &str = "0123456789abcdef0123";

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
}

fn listening(access: Access, change: impl FnOnce(&mut ListenerLimits)) -> (Runtime, Listening) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut limits = ListenerLimits::default();
    change(&mut limits);
    let endpoints = Endpoints::builder(access).runtime(&obs_http::Runtime::new()).build();
    let listening = runtime.block_on(endpoints.listen_with(loopback(), limits)).unwrap();
    (runtime, listening)
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn what_can_be_reached_from_elsewhere_needs_a_token() {
    let runtime = Runtime::new().unwrap();
    let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let open = Endpoints::builder(Access::Open).build();
    let error = runtime.block_on(open.listen(anywhere)).unwrap_err();
    assert!(matches!(error, ListenError::Open { .. }), "{error}");
    assert!(obs_http::LISTEN_DEFAULT.ip().is_loopback());
    let (_runtime, guarded) = listening(Access::token(TOKEN).unwrap(), |_| ());
    let answer = ask(guarded.address(), &get("/runtime", ""));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(header(&answer, "www-authenticate"), Some("Bearer"));
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    let authorised = get("/runtime", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert!(ask(guarded.address(), &authorised).starts_with("HTTP/1.1 200"));
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let (runtime, first) = listening(Access::Open, |_| ());
    let endpoints = Endpoints::builder(Access::Open).build();
    let error = runtime.block_on(endpoints.listen(first.address())).unwrap_err();
    assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_page_in_a_browser_cannot_ask_an_open_listener_by_a_name_of_its_own() {
    let (_runtime, listening) = listening(Access::Open, |_| ());
    let asked = get("/runtime", "").replace("localhost", "evil.example");
    assert!(ask(listening.address(), &asked).starts_with("HTTP/1.1 403"));
    assert!(ask(listening.address(), &get("/runtime", "")).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_head_of_more_than_16_kibibytes_is_refused() {
    let (_runtime, listening) = listening(Access::Open, |_| ());
    let head = |bytes: usize| {
        let rest = get("/healthz", "X-Filler: \r\n").len();
        get("/healthz", &format!("X-Filler: {}\r\n", "x".repeat(bytes - rest)))
    };
    assert!(ask(listening.address(), &head(16 * 1024 - 1)).starts_with("HTTP/1.1 200"));
    let refused = ask(listening.address(), &head(17 * 1024));
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[test]
fn a_body_of_more_than_64_kibibytes_is_refused_unread() {
    let (_runtime, listening) = listening(Access::Open, |_| ());
    let answer = ask(listening.address(), &get("/healthz", "Content-Length: 65537\r\n"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn a_client_that_says_nothing_is_let_go_at_the_read_timeout() {
    let (_runtime, listening) =
        listening(Access::Open, |limits| limits.read_timeout = Duration::from_millis(100));
    for said in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        let mut slow = connect(listening.address());
        slow.write_all(said.as_bytes()).unwrap();
        // Ends because the server closes; the client's own patience is far longer.
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).unwrap();
    }
    assert_eq!(ListenerLimits::default().read_timeout, Duration::from_secs(10));
}

#[test]
fn one_connection_too_many_is_closed_at_once_and_counted() {
    let (_runtime, listening) = listening(Access::Open, |limits| limits.connections_max = 3);
    let mut held: Vec<_> = (0..3).map(|_| connect(listening.address())).collect();
    let answer = ask(listening.address(), &get("/healthz", ""));
    assert_eq!((answer.as_str(), listening.connections_refused()), ("", 1));
    drop(held.pop());
    until("there is room again", || {
        ask(listening.address(), &get("/healthz", "")).starts_with("HTTP/1.1 200")
    });
    assert_eq!(ListenerLimits::default().connections_max, 64);
}

#[test]
fn a_client_that_asks_too_often_is_told_to_wait() {
    let (_runtime, listening) = listening(Access::Open, |limits| {
        limits.requests_per_second_max = 1;
    });
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answers = ask(listening.address(), &format!("{one}{one}{}", get("/healthz", "")));
    assert!(answers.starts_with("HTTP/1.1 200"), "{answers}");
    assert!(answers.matches("HTTP/1.1 429").count() >= 1, "{answers}");
    assert!(answers.contains("retry-after: 1"), "{answers}");
    assert!(listening.requests_limited() >= 1);
}

#[test]
fn after_a_shutdown_or_a_drop_nobody_listens() {
    let (runtime, first) = listening(Access::Open, |_| ());
    let address = first.address();
    let idle = connect(address);
    assert!(ask(address, &get("/healthz", "")).starts_with("HTTP/1.1 200"));
    assert!(runtime.block_on(first.shutdown(LONG)), "an idle connection holds nobody up");
    assert!(std::net::TcpStream::connect(address).is_err());
    drop(idle);
    let (_runtime, second) = listening(Access::Open, |_| ());
    let address = second.address();
    drop(second);
    until("nobody listens", || std::net::TcpStream::connect(address).is_err());
}
