//! The options of who may enter and how clients come in: text → values, and what does not go together.

use super::{Front, SERVICE_MILLISECONDS_MAX, Settings};
use crate::access::Spec;
use crate::access::spec::World;
use crate::wire::forwarded::Network;
use std::net::SocketAddr;

/// What was said of who may enter.
#[derive(Default)]
pub(super) struct Access {
    /// Each `--access`, as it was written.
    pub(super) rules: Vec<String>,
    pub(super) recheck_minutes: Option<u32>,
    pub(super) anonymous_from_anywhere: bool,
    pub(super) lain_lets_everybody_in: bool,
}

impl Access {
    /// The rules as values; without any, everybody who can connect is let in. Services that they ask join the settings.
    pub(super) fn specs(
        &self,
        settings: &mut Settings,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Spec>, String> {
        let service_milliseconds_max = SERVICE_MILLISECONDS_MAX;
        let mut world =
            World { services: &mut settings.peers.services, service_milliseconds_max, environment };
        let specs: Result<Vec<Spec>, String> =
            self.rules.iter().map(|text| Spec::parse(text, &mut world)).collect();
        let mut specs = specs?;
        let mut has_lain = false;
        for spec in &mut specs {
            if let Spec::Lain(lain) = spec {
                has_lain = true;
                lain.without_auth_let_everybody_in = self.lain_lets_everybody_in;
            }
        }
        if self.lain_lets_everybody_in && !has_lain {
            return Err("--lain-without-auth-lets-everybody-in goes with --access lain".to_owned());
        }
        if specs.is_empty() {
            specs.push(Spec::Anonymous);
        }
        settings.front.loopback_pages_only = specs.iter().any(Spec::lets_anybody_in);
        settings.recheck_milliseconds = self.recheck_minutes.map(|minutes| u64::from(minutes) * 60_000);
        Ok(specs)
    }

    /// Nobody hands out shells to the whole network by accident.
    pub(super) fn check_openness(
        &self,
        listen: SocketAddr,
        demo: bool,
        specs: &[Spec],
        front: &Front,
    ) -> Result<(), String> {
        if front.proxy_protocol && front.trusted_proxies.is_empty() {
            let text = "--proxy-protocol needs --trusted-proxy NETWORK: whoever else connects could claim any address";
            return Err(text.to_owned());
        }
        let loopback = listen.ip().is_loopback();
        if demo && !loopback {
            return Err("--demo gives away this machine's own shell: it listens on a loopback address only"
                .to_owned());
        }
        let public = !loopback || !front.trusted_proxies.is_empty();
        if public && specs.contains(&Spec::Anonymous) && !self.anonymous_from_anywhere {
            let why = if loopback {
                "--trusted-proxy means that others than this machine's users come in".to_owned()
            } else {
                format!("{} is not a loopback address", listen.ip())
            };
            return Err(format!(
                "whoever reaches Entry could enter containers: {why}, and no rule says who may. Give one (--access \
                 tokens=FILE, made with entry token new; or jwt, webhook, lain), or listen on 127.0.0.1, or mean it: \
                 --allow-anonymous-shells-from-anywhere"
            ));
        }
        Ok(())
    }
}

/// Where clients connect.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.replace("localhost:", "127.0.0.1:");
    address.parse().map_err(|_| format!("takes ADDRESS:PORT like 127.0.0.1:8022 or [::1]:8022, not {text:?}"))
}

/// An origin as browsers write it (RFC 6454, 6.2).
pub(super) fn origin(text: &str) -> Result<String, String> {
    let authority =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(format!("takes SCHEME://HOST[:PORT] like https://console.example, not {text:?}"));
    }
    Ok(text.to_ascii_lowercase())
}

/// A name that a cookie can have (RFC 6265, 4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(format!("takes the name of a cookie, not {text:?}"));
    }
    Ok(text.to_owned())
}

/// A network of proxies.
pub(super) fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|error| format!("takes a network, not {text:?}: {error}"))
}

/// What stands before every path.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if (!path.is_empty() && !path.starts_with('/')) || !path.bytes().all(plain) {
        return Err(format!("takes a path like /entry, not {text:?}"));
    }
    Ok(path.to_owned())
}
