//! What the gateway goes by, as JSON: under the names of its options, and without what is secret. Secrets stand in files
//! whose names are told, and in queries of services' URLs, which are left out.

use crate::config::{Config, LogFormat, ReapMode, Settings, WantedLimits, Watching};
use serde_json::{Value, json};
use std::path::Path;

/// The configuration.
pub(super) fn told(config: &Config) -> String {
    let Config { listen, workers, demo, tls, limits, watch, access, settings } = config;
    let Settings {
        front,
        recheck_milliseconds,
        peers,
        locator: _,
        allow_container,
        attach_tail_lines,
        paused_milliseconds_max,
        reap,
        guard,
        idle_seconds_max,
        lasts_seconds_max,
        drain_seconds,
        reap_helper,
        record,
        watching,
    } = settings;
    let WantedLimits { sessions, per_address, per_user, buffer_mib } = limits;
    let path = |path: &Path| Value::from(path.display().to_string());
    let texts = |texts: &mut dyn Iterator<Item = String>| texts.map(Value::from).collect::<Value>();
    let reap = match reap {
        ReapMode::Tree => "tree",
        ReapMode::Session => "session",
        ReapMode::Off => "off",
    };
    let watching = match watching {
        Watching::Off => "off",
        Watching::Told => "told",
        Watching::Silent => "silent",
    };
    let engines: Value = peers
        .engines
        .iter()
        .map(|engine| json!({"name": engine.name, "address": engine.address.to_string()}))
        .collect();
    let mut told = json!({
        "listen": listen.to_string(),
        "workers": workers,
        "demo": demo,
        "engine": engines,
        "services": texts(&mut peers.services.iter().map(|service| format!("{}: {service}", service.name))),
        "access": texts(&mut access.iter().map(ToString::to_string)),
        "access-recheck": recheck_milliseconds.map(|milliseconds| milliseconds / 60_000),
        "allow-container": allow_container.patterns(),
        "allow-origin": front.allow_origins,
        "base-path": front.base_path,
        "token-cookie": front.token_cookie,
        "trusted-proxy": texts(&mut front.trusted_proxies.iter().map(ToString::to_string)),
        "proxy-protocol": front.proxy_protocol,
        "tls-cert": tls.own.as_ref().map(|(certificate, _)| path(certificate)),
        "engine-cert-path": tls.engines.as_deref().map(path),
        "ca": tls.authorities.as_deref().map(path),
        "attach-tail": attach_tail_lines,
        "paused-timeout": paused_milliseconds_max / 1000,
        "idle-timeout": idle_seconds_max.map(|seconds| seconds / 60),
        "max-duration": lasts_seconds_max.map(|seconds| seconds / 60),
        "drain-timeout": drain_seconds,
        "watch": watching,
        "reap": reap,
        "reap-helper": reap_helper,
        "record": record.as_ref().map(|record| path(&record.directory)),
        "record-format": record.as_ref().map(|record| format!("v{}", record.format.number())),
        "record-input": record.as_ref().is_some_and(|record| record.input),
        "record-untold": record.as_ref().is_some_and(|record| !record.told),
        "record-max-size": record.as_ref().and_then(|record| record.total_mib_max),
        "record-max-age": record.as_ref().and_then(|record| record.age_days_max),
        "guard": if *guard { "on" } else { "off" },
        "max-sessions": sessions,
        "max-sessions-per-address": per_address,
        "max-sessions-per-user": per_user,
        "buffer-memory": buffer_mib,
    });
    let of_watch = json!({
        "admin-listen": watch.admin.map(|address| address.to_string()),
        "admin-token-file": watch.admin_token.as_deref().map(path),
        "audit": watch.audit.as_ref().map(ToString::to_string),
        "audit-required": watch.audit_required,
        "audit-commands": watch.audit_commands,
        "alert-patterns": texts(&mut watch.alert_patterns.iter().map(ToString::to_string)),
        "log-format": if watch.log_format == LogFormat::Json { "json" } else { "text" },
    });
    if let (Value::Object(told), Value::Object(of_watch)) = (&mut told, of_watch) {
        told.extend(of_watch);
    }
    format!("{told:#}\n")
}
