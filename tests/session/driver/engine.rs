//! What the engine of a visit is asked and answers.

use super::*;

impl Visit {
    /// The only engine of a visit that has no other.
    pub(crate) fn engine_id(&self) -> EngineId {
        self.engines.only().expect("one engine")
    }

    /// What is known of how the only engine speaks.
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        self.engines.dialect(self.engine_id())
    }

    pub(crate) fn forget_dialect(&mut self) {
        self.engines.forget(self.engine_id());
    }

    /// The next request on the session's own connection.
    pub(crate) fn asked(&mut self) -> Asked {
        let (asked, length) = parse_request(&self.to_engine);
        self.to_engine.drain(..length);
        asked
    }

    /// The next short call.
    pub(crate) fn called(&mut self) -> (Call, Asked) {
        let (peer, call, request) = self.calls.pop_front().expect("a short call");
        self.called_peer = Some(peer);
        let (asked, length) = parse_request(&request);
        assert_eq!(length, request.len(), "one request a call");
        (call, asked)
    }

    /// The next short call is this one.
    pub(crate) fn expect_call(&mut self, call: Call, line: &str) -> Asked {
        let (got, asked) = self.called();
        assert_eq!((got, asked.line.as_str()), (call, line));
        asked
    }

    /// The engine is connected and has said what it speaks and which container it is.
    pub(crate) fn until_located(&mut self, kind: Kind) {
        assert_eq!(self.connects, 1);
        self.connected();
        if self.dialect().is_none() {
            assert_eq!(self.asked().line, "GET /_ping");
            self.engine(kind.pong());
        }
        let asked = self.asked();
        assert!(
            asked.line.starts_with(&format!("GET {}/containers/json?filters=", kind.prefix())),
            "{asked:?}"
        );
        self.engine(listed());
    }

    /// Ping, list and create; the exec's start has been asked for and not been answered. Gives create's body.
    pub(crate) fn until_start(&mut self, kind: Kind) -> Value {
        self.until_located(kind);
        let asked = self.asked();
        assert_eq!(asked.line, format!("POST {}/containers/{CONTAINER}/exec", kind.prefix()));
        self.engine(response(201, &json!({ "Id": EXEC }).to_string()));
        asked.body
    }

    /// An open session, of which OPENED has been heard.
    pub(crate) fn open(speaks: Speaks, kind: Kind, hello: Hello) -> Visit {
        let mut visit = Visit::new(speaks);
        visit.greet("/enter", hello);
        visit.until_start(kind);
        assert_eq!(visit.asked().line, format!("POST {}/exec/{EXEC}/start", kind.prefix()));
        visit.engine(upgraded());
        visit.hear_opened();
        visit.calls.clear();
        visit
    }

    pub(crate) fn hear_opened(&mut self) {
        let heard = self.heard();
        if self.speaks == Speaks::V1 {
            let (session, container) = (self.session.id().to_string(), CONTAINER.to_owned());
            let opened = Opened { session, container, ..Opened::default() };
            assert_eq!(heard, [Heard::Opened(opened)]);
        } else {
            assert_eq!(heard, []);
        }
    }

    /// The exec's stream ends, and the engine says this of the exec.
    pub(crate) fn exit(&mut self, code: i64, pid: i64) {
        self.engine_ends();
        let (call, asked) = self.called();
        assert_eq!(call, Call::InspectExec);
        assert!(asked.line.ends_with(&format!("/exec/{EXEC}/json")), "{asked:?}");
        self.reply(call, 200, &json!({ "Running": false, "ExitCode": code, "Pid": pid }));
    }

    /// The client answers the close frame, or goes; nothing is left after it.
    pub(crate) fn is_over(&mut self) {
        if !self.client_closed {
            self.client_vanishes();
        }
        assert!(self.client_closed);
        assert!(self.engine_closed || self.connects == 0);
        assert!(self.session.is_gone(), "{:?}", self.session);
        assert!(self.calls.is_empty(), "{:?}", self.calls);
        assert_eq!(self.guards, 0, "whom a guard knows of is forgotten in the end");
        assert_eq!(self.session.deadline(), Millis::MAX);
    }

    /// What the session left in the container is ended: one process, by the first reaper.
    pub(crate) fn reaps(&mut self) {
        self.looks_at_exec(&json!({ "Running": true, "ExitCode": null, "Pid": 7 }));
        self.reaper_ends(1);
        if self.session.is_gone() || self.reaps.contains(&Reap::Done { processes: 1, unseen: false }) {
            return;
        }
        // Its start was under way: it is looked once more.
        assert!(self.calls.is_empty());
        self.wait(config::REAP_AGAIN_MILLISECONDS);
        self.reaper_ends(0);
        assert_eq!(self.reaps.last(), Some(&Reap::Done { processes: 1, unseen: false }));
    }

    /// The session's own exec is asked about before it is reaped, and the engine says this.
    pub(crate) fn looks_at_exec(&mut self, state: &Value) {
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapInspect);
        assert!(asked.line.ends_with(&format!("/exec/{EXEC}/json")), "{asked:?}");
        self.reply(call, 200, state);
    }

    /// A reaper is created; gives the body of the request.
    pub(crate) fn reaper_is_created(&mut self) -> Value {
        assert!(!self.session.is_gone());
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapCreate);
        assert!(asked.line.ends_with(&format!("/containers/{CONTAINER}/exec")), "{asked:?}");
        let command = asked.body["Cmd"].as_array().unwrap();
        assert_eq!(command.last().unwrap().as_str().unwrap(), self.session.id().to_string());
        asked.body
    }

    /// A reaper is created and started, and runs. Gives the body of the creation.
    pub(crate) fn reaper_runs(&mut self) -> Value {
        let created = self.reaper_is_created();
        self.reply(Call::ReapCreate, 201, &json!({ "Id": "f00d" }));
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapStart);
        assert!(asked.line.ends_with("/exec/f00d/start"), "{asked:?}");
        assert_eq!(asked.body, json!({ "Detach": !self.is_podman(), "Tty": false }));
        self.reply(Call::ReapStart, 200, &json!(""));
        created
    }

    fn is_podman(&self) -> bool {
        self.dialect().is_some_and(|dialect| dialect.podman)
    }

    /// A reaper runs and says this with its status. Gives the body of the creation.
    pub(crate) fn reaper_ends(&mut self, status: i64) -> Value {
        let created = self.reaper_runs();
        if !self.is_podman() {
            assert!(self.calls.is_empty());
            self.wait(config::REAP_WATCH_MILLISECONDS);
        }
        let (call, asked) = self.called();
        assert_eq!(call, Call::ReapInspect);
        assert!(asked.line.ends_with("/exec/f00d/json"), "{asked:?}");
        self.reply(call, 200, &json!({ "Running": false, "ExitCode": status, "Pid": 8 }));
        created
    }
}

/// An HTTP reply with a body of this length.
pub(crate) fn response(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Docker's way to refuse.
pub(crate) fn refused(status: u16, message: &str) -> Vec<u8> {
    response(status, &format!("{}\n", json!({ "message": message })))
}

/// The answer to the list: the container of shop/web, chunked as lists are.
pub(crate) fn listed() -> Vec<u8> {
    let labels = json!({
        "com.docker.compose.project": "shop", "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "1",
    });
    let body = json!([{ "Id": CONTAINER, "Names": ["/shop-web-1"], "Labels": labels }]).to_string();
    let (first, rest) = body.split_at(20);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        first.len(),
        rest.len()
    )
    .into_bytes()
}

/// The head behind which a stream begins.
pub(crate) fn upgraded() -> Vec<u8> {
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n\
      Upgrade: tcp\r\n\r\n"
        .to_vec()
}

/// A frame of Docker's stream: 1 is stdout, 2 stderr.
pub(crate) fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], payload].concat()
}

fn parse_request(bytes: &[u8]) -> (Asked, usize) {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut lines);
    let head_bytes = request.parse(bytes).expect("HTTP").unwrap();
    let headers: Vec<(String, String)> = (request.headers.iter())
        .map(|line| (line.name.to_lowercase(), String::from_utf8(line.value.to_vec()).unwrap()))
        .collect();
    let body_bytes = (headers.iter())
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse::<usize>().unwrap());
    let body = &bytes[head_bytes..head_bytes + body_bytes];
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
    let line = format!("{} {}", request.method.unwrap(), request.path.unwrap());
    (Asked { line, headers, body }, head_bytes + body_bytes)
}
