//! The balancers, by the files of scripts/deploy.

use crate::common::await_or;
use crate::common::program::Running;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// From where the balancer connects to the replicas; clients come from 127.0.0.1.
pub(crate) const SOURCE: &str = "127.0.0.2/32";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
}

/// A balancer that runs; ended when it is forgotten.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    _running: Running,
    directory: PathBuf,
}

impl Balancer {
    /// On this address, before these replicas, with this time-out for sessions in which nobody says anything.
    pub(crate) fn start(
        kind: Kind,
        address: SocketAddr,
        replicas: [SocketAddr; 2],
        idle_time_out: &str,
    ) -> Balancer {
        let directory = std::env::temp_dir().join(format!("entry-balancer-{}", address.port()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        let file = directory.join("configuration");
        let log = directory.join("log");
        let (text, mut command) = match kind {
            Kind::Nginx => (nginx(address, idle_time_out, &directory), Command::new("nginx")),
            Kind::Haproxy => (haproxy(address, idle_time_out), Command::new("haproxy")),
        };
        let text = put(text, "entry-1:8022", &replicas[0].to_string());
        fs::write(&file, put(text, "entry-2:8022", &replicas[1].to_string())).unwrap();
        match kind {
            Kind::Nginx => command.arg("-e").arg(&log).arg("-c").arg(&file),
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&file),
        };
        let said = fs::File::create(directory.join("said")).unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let running = Running::start(command);
        let told = || {
            let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
            format!("{kind:?} does not listen: {}{}", read("said"), read("log"))
        };
        await_or(told, || TcpStream::connect(address).ok());
        Balancer { address, _running: running, directory }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = ["said", "log"].map(|name| fs::read(self.directory.join(name)).unwrap_or_default());
            let _ = std::io::stderr().write_all(&said.concat());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The file of scripts/deploy.
fn deployed(name: &str) -> String {
    fs::read_to_string(format!("{}/scripts/deploy/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text with this in the place of that, which must be in it.
fn put(text: String, that: &str, this: &str) -> String {
    assert!(text.contains(that), "there is no {that} in:\n{text}");
    text.replace(that, this)
}

/// What Debian's own /etc/nginx/nginx.conf does, in one process and with no file elsewhere.
fn nginx(address: SocketAddr, idle_time_out: &str, directory: &std::path::Path) -> String {
    let text = put(deployed("nginx.conf"), "listen 8080;", &format!("listen {address};"));
    let text = put(text, "_timeout 60s;", &format!("_timeout {idle_time_out};"));
    let text = put(text, "proxy_pass http://entry;", "proxy_pass http://entry; proxy_bind 127.0.0.2;");
    let directory = directory.display();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log {directory}/log;\nevents {{}}\n\
         http {{\naccess_log off;\n{places}{text}}}\n"
    )
}

fn haproxy(address: SocketAddr, idle_time_out: &str) -> String {
    let text = put(deployed("haproxy.cfg"), "bind :8080", &format!("bind {address}"));
    let text = put(text, "timeout tunnel 60s", &format!("timeout tunnel {idle_time_out}"));
    put(text, "default-server check", "default-server source 127.0.0.2 check")
}
