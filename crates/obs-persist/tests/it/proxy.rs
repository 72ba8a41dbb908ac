//! A proxy in front of a Postgres server that knows where a client's messages end, and does to the
//! connection what networks do: delay, throttle, hold, cut, reset, refuse.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};

/// What is read at once.
const CHUNK: usize = 16 << 10;

/// How long a connection that was cut may take to bring the server what was already sent.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Every answer comes this much later.
    Delay(Duration),
    /// So many bytes a second, either way.
    Throttle(u32),
    /// Answers are kept back: the connection is half open.
    Hold,
    /// The connection ends as soon as the server has a message of this type, e.g. `b'B'` (Bind)
    /// or `b'S'` (Sync), and before the client hears of it. Once; then it passes.
    CutAfter(u8),
    /// Connections are reset, old and new ones.
    Refuse,
}

/// A listening proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicUsize>,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Line {
    mode: watch::Sender<Mode>,
    seen: watch::Receiver<Mode>,
}

impl Proxy {
    /// In front of the server of an address like `postgres://user@host:port/database`.
    pub(crate) fn before(url: &str) -> Self {
        Self::at("127.0.0.1:0", url)
    }

    /// The same, at an address of one's choice.
    pub(crate) fn at(listens: &str, url: &str) -> Self {
        let server = host_of(url).to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(listens)).unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Mode::Pass);
        let accepted = Arc::new(AtomicUsize::new(0));
        let line = Line { mode: mode.clone(), seen };
        let count = Arc::clone(&accepted);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(line.clone().serve(client, server.clone()));
            }
        });
        Self { address, mode, accepted, _runtime: runtime }
    }

    /// The same database, through the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replace(host_of(url), &self.address.to_string())
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(crate) fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once('@').unwrap().1;
    rest.split_once('/').unwrap().0
}

impl Line {
    fn now(&self) -> Mode {
        *self.seen.borrow()
    }

    async fn serve(mut self, client: TcpStream, server: String) {
        if self.now() == Mode::Refuse {
            reset(client);
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else { return reset(client) };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (up, down) = (self.clone(), self.clone());
        let end = tokio::select! {
            end = up.questions(&mut from_client, &mut to_server) => end,
            () = down.answers(&mut from_server, &mut to_client) => End::Gone,
            () = self.refused() => End::Reset,
        };
        let Ok(client) = from_client.reunite(to_client) else { return };
        match end {
            End::Gone => drop(client),
            End::Reset => reset(client),
            End::Cut => {
                drop(client);
                drain(to_server, from_server).await;
            }
        }
    }

    async fn refused(&mut self) {
        let _ = self.seen.wait_for(|mode| *mode == Mode::Refuse).await;
    }

    /// What the client says.
    async fn questions(self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> End {
        let mut messages = Messages::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return End::Gone };
            let bytes = &buffer[..length];
            let cut = match self.now() {
                Mode::CutAfter(kind) => messages.end_of(bytes, Some(kind)),
                _ => messages.end_of(bytes, None),
            };
            if let Some(end) = cut {
                let _ = to.write_all(&bytes[..end]).await;
                self.mode.send_replace(Mode::Pass);
                return End::Cut;
            }
            self.slow_down(length).await;
            if to.write_all(bytes).await.is_err() {
                return End::Gone;
            }
        }
    }

    /// What the server says.
    async fn answers(mut self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
            let _ = self.seen.wait_for(|mode| *mode != Mode::Hold).await;
            if let Mode::Delay(time) = self.now() {
                sleep(time).await;
            }
            self.slow_down(length).await;
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    async fn slow_down(&self, bytes: usize) {
        if let Mode::Throttle(per_second) = self.now() {
            let bytes = u32::try_from(bytes).unwrap();
            sleep(Duration::from_secs(1) * bytes / per_second).await;
        }
    }
}

/// How the client's side of a connection ended.
enum End {
    Gone,
    Reset,
    Cut,
}

/// The server gets all that was sent before it notices the end.
async fn drain(mut to: OwnedWriteHalf, mut from: OwnedReadHalf) {
    let _ = to.shutdown().await;
    let mut buffer = vec![0; CHUNK];
    let rest = async { while let Ok(1..) = from.read(&mut buffer).await {} };
    let _ = timeout(LAST_WORDS, rest).await;
}

/// Ends a connection so that the other side sees an error, not an end.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Where the messages of a client are: a start without a type, then a type and a length each.
#[derive(Default)]
struct Messages {
    /// What is left of the message at hand.
    left: usize,
    kind: u8,
    /// The beginning of a message whose length is not known yet.
    head: Vec<u8>,
    started: bool,
}

impl Messages {
    /// Goes through the next bytes; where the first message of `kind` ends in them.
    fn end_of(&mut self, bytes: &[u8], kind: Option<u8>) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                self.head.push(bytes[at]);
                at += 1;
                let type_ = usize::from(self.started);
                if self.head.len() < type_ + 4 {
                    continue;
                }
                let length: [u8; 4] = self.head[type_..].try_into().unwrap();
                self.kind = if self.started { self.head[0] } else { 0 };
                self.left = u32::from_be_bytes(length) as usize - 4;
                self.head.clear();
                self.started = true;
            }
            let step = self.left.min(bytes.len() - at);
            (self.left, at) = (self.left - step, at + step);
            if self.left == 0 && Some(self.kind) == kind {
                return Some(at);
            }
        }
        None
    }
}

#[test]
fn messages_are_told_apart_however_they_are_cut() {
    let mut stream = vec![0, 0, 0, 9, 1, 2, 3, 4, 5];
    for (kind, body) in [(b'P', 7_usize), (b'B', 0), (b'E', 300), (b'S', 0)] {
        stream.push(kind);
        stream.extend(u32::try_from(body + 4).unwrap().to_be_bytes());
        stream.extend(std::iter::repeat_n(b'S', body));
    }
    for size in 1..=stream.len() {
        let mut messages = Messages::default();
        let mut before = 0;
        let mut found = None;
        for chunk in stream.chunks(size) {
            let end = messages.end_of(chunk, Some(b'B'));
            found = found.or_else(|| end.map(|end| before + end));
            before += chunk.len();
        }
        assert_eq!(found, Some(9 + 12 + 5), "in chunks of {size}");
    }
}
