//! What Entry adds to the time until the first prompt: the same exec on the same engine, in turn straight over the
//! Engine API and through a gateway, so that the engine's own time (tens of milliseconds) cancels out.
//!
//! `cargo bench --bench prompt` uses the embedded engine; `scripts/with-dockerd cargo bench --bench prompt` a real one
//! (container `bench` of the image entry-bash is made and removed).

use entry::access::Spec;
use entry::config::{Config, ContainerRule, Peers, Settings, WantedLimits};
use entry::demo::{DemoEngine, DemoOptions};
use entry::engine::{Address, ExecSpec, WindowSize, reply, request};
use entry::gateway::Server;
use entry::wire::http::{Expect, Reply, ReplyReader};
use entry::wire::message::{ENTRY_V1, Hello, RequestMessage, RequestType, ResponseMessage, ResponseType};
use prost::Message as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 60;
const SIZE: WindowSize = WindowSize { columns: 80, rows: 24 };
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash\nexec sh";

fn main() {
    let demo;
    let (url, container) = match std::env::var("DOCKER_HOST") {
        Ok(url) => {
            docker(&["run", "-d", "--network", "none", "--name", "bench", "entry-bash", "sleep", "3600"]);
            (url, "bench")
        }
        Err(_) => {
            demo = DemoEngine::start(DemoOptions::default()).expect("the embedded engine starts");
            (demo.url(), "demo")
        }
    };
    let Ok(Address::Unix(socket)) = Address::parse(&url) else {
        panic!("{url}: this bench wants a unix socket")
    };
    let server = Server::start(&Config {
        listen: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        demo: false,
        tls: Default::default(),
        limits: WantedLimits::default(),
        watch: Default::default(),
        access: vec![Spec::Anonymous],
        settings: Settings {
            peers: Peers::one(Address::Unix(socket.clone())),
            allow_container: ContainerRule::new(vec!["*".to_owned()]),
            ..Settings::default()
        },
    })
    .expect("the gateway starts");

    let (mut direct, mut through, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let straight = prompt_straight(&socket, container);
        let gateway = prompt_through(server.address(), container);
        direct.push(straight);
        through.push(gateway);
        added.push(gateway.as_secs_f64() - straight.as_secs_f64());
    }
    direct.sort();
    through.sort();
    added.sort_by(f64::total_cmp);
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let line = format!(
        "first prompt, median of {ROUNDS}: engine {:.2} ms, through Entry {:.2} ms; median of what Entry adds {:.2} ms\n",
        milliseconds(direct[ROUNDS / 2]),
        milliseconds(through[ROUNDS / 2]),
        added[ROUNDS / 2] * 1000.0,
    );
    std::io::stdout().write_all(line.as_bytes()).expect("stdout");
    server.stop().expect("the gateway ends");
    if container == "bench" {
        docker(&["rm", "-f", "bench"]);
    }
}

fn docker(arguments: &[&str]) {
    let status = Command::new("docker").args(arguments).stdout(std::process::Stdio::null()).status();
    assert!(status.expect("docker").success(), "docker {arguments:?}");
}

/// From the connect to the first byte of output, as a client of the engine would do it; the version is negotiated
/// first, which a gateway has behind it as well.
fn prompt_straight(socket: &Path, container: &str) -> Duration {
    let dialect = reply::read_ping(&ask(&mut connect(socket), "GET", &request::ping())).expect("a ping");
    let environment = ["TERM=xterm-256color".to_owned()];
    let command = ["sh", "-c", SHELL].map(str::to_owned);
    let spec = ExecSpec {
        command: &command,
        environment: &environment,
        tty: true,
        stdin: true,
        size: Some(SIZE),
        ..ExecSpec::default()
    };
    let begin = Instant::now();
    let mut stream = connect(socket);
    let created = ask(&mut stream, "POST", &request::create_exec(&dialect, container, &spec));
    let exec = reply::read_created(&created).expect("an exec");
    stream.write_all(&request::start_exec(&dialect, &exec, &spec)).expect("start");
    let mut reader = ReplyReader::new("POST", Expect::Stream, 1 << 14, 1 << 14);
    let mut buffer = [0; 4096];
    let mut begun = false;
    loop {
        let count = stream.read(&mut buffer).expect("the stream");
        assert!(count > 0, "the exec ended");
        // The head may come in many pieces; only what lies behind it is output.
        let mut consumed = 0;
        if !begun {
            let (head_bytes, reply) = reader.feed(&buffer[..count]).expect("a head");
            (consumed, begun) = (head_bytes, reply.is_some());
        }
        if consumed < count {
            let elapsed = begin.elapsed();
            stream.write_all(b"exit\n").expect("exit");
            while stream.read(&mut buffer).expect("the end") > 0 {}
            return elapsed;
        }
    }
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(PathBuf::from(socket)).expect("the engine")
}

fn ask(stream: &mut UnixStream, method: &'static str, request: &[u8]) -> Reply {
    stream.write_all(request).expect("a request");
    let mut reader = ReplyReader::new(method, Expect::Whole, 1 << 14, 1 << 20);
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).expect("a reply");
        if let Some(reply) = reader.feed(&buffer[..count]).expect("a reply").1 {
            return reply;
        }
    }
}

/// From the connect to the first byte of output, as a client of Entry.
fn prompt_through(gateway: std::net::SocketAddr, container: &str) -> Duration {
    use tungstenite::client::IntoClientRequest;
    let begin = Instant::now();
    let stream = TcpStream::connect(gateway).expect("the gateway");
    stream.set_nodelay(true).expect("nodelay");
    let mut request = format!("ws://{gateway}/enter").into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", ENTRY_V1.parse().expect("a value"));
    let (mut socket, _) = tungstenite::client(request, stream).expect("the upgrade");
    let hello = Hello {
        container: container.to_owned(),
        tty: true,
        columns: SIZE.columns.into(),
        rows: SIZE.rows.into(),
        ..Hello::default()
    };
    let say = |kind: RequestType, content: &[u8], hello: Option<Hello>| {
        let message =
            RequestMessage { msg_type: kind as i32, content: content.to_vec(), hello: hello.map(Box::new) };
        tungstenite::Message::binary(message.encode_to_vec())
    };
    socket.send(say(RequestType::Hello, b"", Some(hello))).expect("hello");
    let mut elapsed = None;
    loop {
        let tungstenite::Message::Binary(message) = socket.read().expect("a message") else { continue };
        let message = ResponseMessage::decode(message).expect("a ResponseMessage");
        match message.msg_type() {
            ResponseType::Stdout if elapsed.is_none() => {
                elapsed = Some(begin.elapsed());
                socket.send(say(RequestType::Plain, b"exit\n", None)).expect("exit");
            }
            ResponseType::Close => return elapsed.expect("output before the end"),
            ResponseType::Stdout
            | ResponseType::Stderr
            | ResponseType::Ping
            | ResponseType::Opened
            | ResponseType::Mark
            | ResponseType::Echo
            | ResponseType::Size => {}
        }
    }
}
