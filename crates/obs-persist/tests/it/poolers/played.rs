//! A transaction pooler, played: every transaction goes to the next of two sessions.
//!
//! With `keeps_statements` it does what PgBouncer does since 1.21: it gives statements names of its
//! own and prepares them where they are missing. It is as strict as that about options. What it
//! shows is that our side works when sessions change, not how a certain PgBouncer behaves.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const SSL_REQUEST: u32 = 80_877_103;
const SESSIONS: usize = 2;

#[derive(Default)]
pub(super) struct Counts {
    /// Transactions, session by session.
    pub(super) transactions: [AtomicUsize; SESSIONS],
    /// Statements that were missing where they were wanted, and prepared there.
    pub(super) prepared_again: AtomicUsize,
}

pub(super) struct Played {
    pub(super) port: u16,
    pub(super) counts: Arc<Counts>,
}

struct Session {
    number: usize,
    stream: TcpStream,
    known: HashSet<String>,
}

struct Pool {
    idle: Mutex<VecDeque<Session>>,
    freed: Condvar,
    counts: Arc<Counts>,
    keeps_statements: bool,
}

type Message = (u8, Vec<u8>);

/// What is known about a client.
struct Client {
    /// What its statements are called on every session begins with this.
    prefix: String,
    stream: TcpStream,
    statements: HashMap<String, Vec<u8>>,
}

/// What goes to a session, and which of its answers to a `Parse` the client asked for.
#[derive(Default)]
struct Round {
    out: Vec<u8>,
    shown: VecDeque<bool>,
}

fn read_message(stream: &mut TcpStream) -> Option<Message> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    stream.read_exact(&mut body).ok()?;
    Some((head[0], body))
}

fn put(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
}

/// A text that ends with a zero, and what is behind it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap(), &bytes[end + 1..])
}

fn zeroed(name: &str, rest: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], rest].concat()
}

impl Played {
    pub(super) fn start(server: &str, keeps_statements: bool) -> Self {
        let (_, host) = server.split_once('@').unwrap();
        let (host, database) = host.split_once('/').unwrap();
        let idle = (0..SESSIONS).map(|number| Session::open(number, host, database)).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let pool = Arc::new(Pool {
            idle: Mutex::new(idle),
            freed: Condvar::new(),
            counts: Arc::clone(&counts),
            keeps_statements,
        });
        // They end with the test's process.
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.serve(number, client.unwrap()));
            }
        });
        Self { port, counts }
    }
}

impl Session {
    fn open(number: usize, host: &str, database: &str) -> Self {
        let mut stream = TcpStream::connect(host).unwrap();
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend(format!("user\0obs\0database\0{database}\0\0").bytes());
        let mut startup = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        startup.extend(body);
        stream.write_all(&startup).unwrap();
        while read_message(&mut stream).unwrap().0 != b'Z' {}
        Self { number, stream, known: HashSet::new() }
    }
}

impl Pool {
    fn take(&self) -> Session {
        let idle = self.idle.lock().unwrap();
        self.freed.wait_while(idle, |idle| idle.is_empty()).unwrap().pop_front().unwrap()
    }

    fn put_back(&self, session: Session) {
        self.counts.transactions[session.number].fetch_add(1, Ordering::Relaxed);
        self.idle.lock().unwrap().push_back(session);
        self.freed.notify_one();
    }

    fn serve(&self, number: usize, mut stream: TcpStream) {
        if !welcome(&mut stream) {
            return;
        }
        let mut client =
            Client { prefix: format!("c{number}"), stream, statements: HashMap::new() };
        let mut held: Option<Session> = None;
        // Up to what wants an answer.
        let mut batch = Vec::new();
        while let Some(message) = read_message(&mut client.stream) {
            let kind = message.0;
            if kind == b'X' {
                break;
            }
            batch.push(message);
            if kind != b'Q' && kind != b'S' {
                continue;
            }
            let mut session = held.take().unwrap_or_else(|| self.take());
            let Some(status) = self.pass_on(&mut client, &mut batch, &mut session) else {
                return self.put_back(session);
            };
            if status == b'I' {
                self.put_back(session);
            } else {
                held = Some(session);
            }
        }
        if let Some(mut session) = held {
            let mut rollback = Vec::new();
            put(&mut rollback, b'Q', b"ROLLBACK\0");
            session.stream.write_all(&rollback).unwrap();
            while read_message(&mut session.stream).unwrap().0 != b'Z' {}
            self.put_back(session);
        }
    }

    /// One round trip; the state of the transaction after it.
    fn pass_on(
        &self,
        client: &mut Client,
        batch: &mut Vec<Message>,
        session: &mut Session,
    ) -> Option<u8> {
        let mut round = Round::default();
        for (kind, body) in batch.drain(..) {
            if kind == b'P' {
                round.shown.push_back(true);
            }
            // Whatever it wants is there before it.
            let body = if self.keeps_statements {
                self.translate(client, session, &mut round, (kind, body))
            } else {
                body
            };
            put(&mut round.out, kind, &body);
        }
        session.stream.write_all(&round.out).unwrap();
        let mut answer = Vec::new();
        loop {
            let (kind, body) = read_message(&mut session.stream)?;
            if kind != b'1' || round.shown.pop_front().unwrap_or(true) {
                put(&mut answer, kind, &body);
            }
            if kind == b'Z' {
                client.stream.write_all(&answer).ok()?;
                return body.first().copied();
            }
        }
    }

    fn translate(
        &self,
        client: &mut Client,
        session: &mut Session,
        round: &mut Round,
        (kind, body): Message,
    ) -> Vec<u8> {
        match (kind, body.first()) {
            (b'P', _) => {
                let (name, rest) = text(&body);
                if !name.is_empty() {
                    client.statements.insert(name.clone(), rest.to_vec());
                    session.known.insert(format!("{}{name}", client.prefix));
                }
                rename(&client.prefix, &name, rest)
            }
            (b'B', _) => {
                let (portal, rest) = text(&body);
                let (name, rest) = text(rest);
                self.ensure(client, &name, session, round);
                zeroed(&portal, &rename(&client.prefix, &name, rest))
            }
            (b'D' | b'C', Some(b'S')) => {
                let (name, rest) = text(&body[1..]);
                if kind == b'D' {
                    self.ensure(client, &name, session, round);
                } else {
                    session.known.remove(&format!("{}{name}", client.prefix));
                }
                [&b"S"[..], &rename(&client.prefix, &name, rest)].concat()
            }
            _ => body,
        }
    }

    fn ensure(&self, client: &Client, name: &str, session: &mut Session, round: &mut Round) {
        let Some(statement) = client.statements.get(name) else { return };
        if session.known.insert(format!("{}{name}", client.prefix)) {
            put(&mut round.out, b'P', &rename(&client.prefix, name, statement));
            round.shown.push_back(false);
            self.counts.prepared_again.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn rename(prefix: &str, name: &str, rest: &[u8]) -> Vec<u8> {
    if name.is_empty() { zeroed("", rest) } else { zeroed(&format!("{prefix}{name}"), rest) }
}

/// The begin of a session; whether the client is let in.
fn welcome(client: &mut TcpStream) -> bool {
    let mut head = [0; 8];
    loop {
        if client.read_exact(&mut head).is_err() {
            return false;
        }
        if head[4..] != SSL_REQUEST.to_be_bytes() {
            break;
        }
        client.write_all(b"N").unwrap();
    }
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let mut body = vec![0; usize::try_from(length).unwrap() - 8];
    client.read_exact(&mut body).unwrap();
    let mut out = Vec::new();
    if body.split(|byte| *byte == 0).any(|word| word == b"options") {
        let error = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        put(&mut out, b'E', error);
        client.write_all(&out).unwrap();
        return false;
    }
    put(&mut out, b'R', &[0; 4]);
    put(&mut out, b'S', b"server_version\x0015.0\0");
    put(&mut out, b'S', b"client_encoding\0UTF8\0");
    put(&mut out, b'K', &[0; 8]);
    put(&mut out, b'Z', b"I");
    client.write_all(&out).is_ok()
}
