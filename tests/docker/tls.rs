//! A real engine behind TLS, with client certificates: a second daemon of the one that the tests run beside.

use crate::certificates::{Authority, Valid};
use crate::common::await_some;
use crate::common::engine::{Engine, engine, unique};
use crate::common::gateway::Gateway;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `dockerd --tlsverify` with a container that waits; ended and removed when it is forgotten.
struct Secure {
    daemon: Child,
    directory: PathBuf,
    port: u16,
    /// By its unix socket.
    engine: Engine,
    container: String,
}

impl Secure {
    fn start(authority: &Authority) -> Secure {
        let beside = engine();
        authority.server("engine", &["localhost"], Valid::Now);
        let directory = std::env::temp_dir().join(unique("entry-dockerd-tls"));
        fs::create_dir(&directory).unwrap();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        fs::write(path("daemon.json"), "{}").unwrap();
        // Somebody else may take it in between, which the daemon then says.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(path("log")).unwrap();
        let mut command = as_beside("dockerd");
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--config-file", &path("daemon.json"), "--host", &format!("unix://{}", path("sock"))]);
        command.args(["--host", &format!("tcp://127.0.0.1:{port}"), "--tlsverify"]);
        command.args(["--tlscacert", &authority.file("ca.pem")]);
        command.args(["--tlscert", &authority.file("engine-cert.pem")]);
        command.args(["--tlskey", &authority.file("engine-key.pem")]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        command.args(["--ip-masq=false"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = command.process_group(0).spawn().expect("dockerd starts");
        let host = format!("unix://{}", path("sock"));
        let mut secure = Secure {
            daemon,
            directory: directory.clone(),
            port,
            engine: Engine { host, tcp: String::new(), kind: beside.kind.clone() },
            container: unique("entry"),
        };
        await_some("the second daemon", || {
            let ended = secure.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(secure.directory.join("log")).unwrap());
            secure.engine.try_ask(&["version"]).status.success().then_some(())
        });
        let mut save = beside.docker(&["save", "entry-busybox"]);
        let mut save = save.stdout(Stdio::piped()).spawn().unwrap();
        let loaded = secure.engine.docker(&["load"]).stdin(save.stdout.take().unwrap()).output().unwrap();
        assert!(loaded.status.success() && save.wait().unwrap().success(), "{loaded:?}");
        let name = &secure.container;
        secure.engine.ask(&[
            "run",
            "--detach",
            "--network=none",
            "--name",
            name,
            "entry-busybox",
            "sleep",
            "3600",
        ]);
        secure
    }

    fn url(&self, host: &str) -> String {
        format!("tcp://{host}:{}", self.port)
    }

    /// Through a gateway with these options more, a command that says something and ends with 7.
    fn enter(&self, url: &str, options: &[&str]) -> (i32, String, String) {
        let gateway = Gateway::at(url, &[&["--allow-container", "*"], options].concat());
        let command = ["enter", "--container", &self.container, "--", "sh", "-c", "cat; exit 7"];
        let ended = gateway.run_with("through\n", &command);
        (ended.status, ended.stdout(), ended.stderr())
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.engine.try_ask(&["rm", "--force", &self.container]);
        let _ = entry::sys::signal_process(self.daemon.id().cast_signed(), 15);
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program of the engine that the tests run beside, which need not be the system's.
fn as_beside(program: &str) -> Command {
    let file = std::env::var("ENTRY_TEST_DOCKERD_PIDFILE").unwrap();
    let pid = fs::read_to_string(file).unwrap();
    let environment = fs::read(format!("/proc/{}/environ", pid.trim())).unwrap();
    let text = String::from_utf8_lossy(&environment);
    let path = text.split('\0').find_map(|variable| variable.strip_prefix("PATH=")).unwrap().to_owned();
    let found =
        path.split(':').map(|directory| Path::new(directory).join(program)).find(|file| file.exists());
    let mut command = Command::new(found.unwrap_or_else(|| panic!("no {program} in {path}")));
    command.env("PATH", path);
    command
}

/// A directory as `DOCKER_CERT_PATH` names it, in the authority's own.
fn cert_path(authority: &Authority, client: Option<(&Authority, &str)>) -> String {
    let directory = authority.file(&format!("path-{}", client.map_or("none", |(_, client)| client)));
    fs::create_dir(&directory).unwrap();
    fs::copy(authority.file("ca.pem"), format!("{directory}/ca.pem")).unwrap();
    if let Some((issuer, client)) = client {
        for part in ["cert.pem", "key.pem"] {
            fs::copy(issuer.file(&format!("{client}-{part}")), format!("{directory}/{part}")).unwrap();
        }
    }
    directory
}

#[test]
fn an_engine_that_asks_who_calls() {
    if engine().is_podman() {
        return; // its service has no TLS
    }
    let (authority, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    authority.client("good", Valid::Now);
    authority.client("expired", Valid::Expired);
    theirs.client("stranger", Valid::Now);
    let secure = Secure::start(&authority);
    let localhost = secure.url("localhost");

    let good = cert_path(&authority, Some((&authority, "good")));
    let entered = secure.enter(&localhost, &["--engine-cert-path", &good]);
    assert_eq!(entered, (7, "through\n".to_owned(), String::new()));

    for (client, words) in [
        (None, "it demands a client certificate, and was given none"),
        (Some((&authority, "expired")), "certificate"),
        (Some((&theirs, "stranger")), "it does not accept the certificate that it was given"),
    ] {
        let path = cert_path(&authority, client);
        let (status, _, told) = secure.enter(&localhost, &["--engine-cert-path", &path]);
        assert!(status == 125 && told.contains("cannot be reached") && told.contains(words), "{told}");
    }

    // Its certificate is for localhost, and for no address; and nobody there has heard of their authority.
    let (status, _, told) = secure.enter(&secure.url("127.0.0.1"), &["--engine-cert-path", &good]);
    assert!(status == 125 && told.contains("is for localhost and not for 127.0.0.1"), "{told}");
    let stranger = cert_path(&theirs, None);
    let (status, _, told) = secure.enter(&localhost, &["--engine-cert-path", &stranger]);
    assert!(status == 125 && told.contains("no authority that is trusted here"), "{told}");

    let (status, _, told) = secure.enter(&localhost, &[]);
    assert!(status == 125 && told.contains("speaks TLS") && told.contains("--engine-cert-path"), "{told}");
    assert!(TcpStream::connect(("127.0.0.1", secure.port)).is_ok(), "it was there all the time");
}
