//! What the engine's containers, and the engine itself, look like in JSON.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::api::{API_VERSION, MIN_API_VERSION};
use super::container::{Container, Status};
use super::http::Request;

/// The image that every container seems to be of.
const IMAGE: &str = "entry-demo:this-machine";
/// The engine's word for a time that has not been.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// `GET /version`.
pub(super) fn version() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "Platform": { "Name": "Entry embedded engine" },
        "Components": [{ "Name": "Engine", "Version": version, "Details": {
            "ApiVersion": API_VERSION, "MinAPIVersion": MIN_API_VERSION, "Os": "linux",
            "Arch": std::env::consts::ARCH } }],
        "Version": version,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": std::env::consts::ARCH,
    })
}

/// `GET /info`.
pub(super) fn info(containers: &[std::sync::Arc<Container>]) -> Value {
    let statuses: Vec<Status> = containers.iter().map(|container| container.status()).collect();
    let count = |wanted: fn(&Status) -> bool| statuses.iter().filter(|status| wanted(status)).count();
    json!({
        "Containers": statuses.len(),
        "ContainersRunning": count(|status| status.running && !status.paused),
        "ContainersPaused": count(|status| status.paused),
        "ContainersStopped": count(|status| !status.running),
        "Images": 1,
        "Driver": "none",
        "Name": "entry-demo",
        "OperatingSystem": "Entry embedded engine",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /containers/{id}/json`.
pub(super) fn inspect(container: &Container) -> Value {
    let (status, settings) = (container.status(), &container.settings);
    let command = settings.command.clone().unwrap_or_default();
    json!({
        "Id": container.id,
        "Created": time(container.created),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": command.get(1..).unwrap_or_default(),
        "State": {
            "Status": state(status),
            "Running": status.running,
            "Paused": status.paused,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": false,
            "Pid": status.pid,
            "ExitCode": status.exit_code,
            "Error": "",
            "StartedAt": status.started.map_or(NEVER.to_owned(), time),
            "FinishedAt": status.finished.map_or(NEVER.to_owned(), time),
        },
        "Image": format!("sha256:{}", "0".repeat(64)),
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "",
        "Name": format!("/{}", settings.name),
        "RestartCount": 0,
        "Driver": "none",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(),
        "GraphDriver": { "Data": null, "Name": "none" },
        "Mounts": [],
        "Config": {
            "Hostname": container.id.get(..12).unwrap_or(&container.id),
            "Domainname": "",
            "User": "",
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "Tty": settings.tty,
            "OpenStdin": settings.open_stdin,
            "StdinOnce": false,
            "Env": [],
            "Cmd": settings.command,
            "Image": IMAGE,
            "Volumes": null,
            "WorkingDir": container.working_directory(),
            "Entrypoint": null,
            "Labels": settings.labels,
        },
        "NetworkSettings": { "Ports": {}, "Networks": {} },
    })
}

/// What a container without limits has, about as long as the engine's: so the reply is over the size from which
/// replies are chunked, as real ones are.
fn host_config() -> Value {
    const TEXT: &str = r#"{
        "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": "host", "PortBindings": {}, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "host", "Dns": [], "DnsOptions": [], "DnsSearch": [],
        "ExtraHosts": null, "GroupAdd": null, "IpcMode": "host", "Cgroup": "", "Links": null,
        "OomScoreAdj": 0, "PidMode": "host", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "host", "UsernsMode": "host", "ShmSize": 0,
        "Runtime": "none", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
        "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": null, "OomKillDisable": null, "PidsLimit": null, "Ulimits": [], "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": [], "ReadonlyPaths": []
    }"#;
    serde_json::from_str(TEXT).unwrap_or_default()
}

/// One entry of `GET /containers/json`.
pub(super) fn entry(container: &Container) -> Value {
    let (status, settings) = (container.status(), &container.settings);
    let since =
        |time: Option<SystemTime>| time.and_then(|time| time.elapsed().ok()).unwrap_or_default().as_secs();
    let words = match (status.running, status.paused) {
        (true, false) => format!("Up {} seconds", since(status.started)),
        (true, true) => format!("Up {} seconds (Paused)", since(status.started)),
        (false, _) => format!("Exited ({}) {} seconds ago", status.exit_code, since(status.finished)),
    };
    json!({
        "Id": container.id,
        "Names": [format!("/{}", settings.name)],
        "Image": IMAGE,
        "ImageID": format!("sha256:{}", "0".repeat(64)),
        "Command": settings.command.clone().unwrap_or_default().join(" "),
        "Created": container.created.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        "Ports": [],
        "Labels": settings.labels,
        "State": state(status),
        "Status": words,
        "HostConfig": { "NetworkMode": "host" },
        "NetworkSettings": { "Networks": {} },
        "Mounts": [],
    })
}

fn state(status: Status) -> &'static str {
    match (status.running, status.paused) {
        (true, true) => "paused",
        (true, false) => "running",
        (false, _) => "exited",
    }
}

/// Which containers a listing shows: values of one filter are alternatives, but all labels must match.
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `filters`, as lists or as maps of values to true. The error is the engine's text for a 400.
    pub(super) fn read(request: &Request) -> Result<Filters, String> {
        let text = request.parameter("filters").unwrap_or_default();
        if text.is_empty() {
            return Ok(Filters(BTreeMap::new()));
        }
        let lists: Result<BTreeMap<String, Vec<String>>, _> = serde_json::from_str(text);
        let maps: Result<BTreeMap<String, BTreeMap<String, bool>>, _> = serde_json::from_str(text);
        let filters = match (lists, maps) {
            (Ok(lists), _) => lists,
            (Err(_), Ok(maps)) => {
                maps.into_iter().map(|(name, values)| (name, values.into_keys().collect())).collect()
            }
            (Err(_), Err(_)) => return Err("invalid filter".to_owned()),
        };
        match filters.keys().find(|name| !matches!(name.as_str(), "label" | "name" | "id" | "status")) {
            Some(unknown) => Err(format!("invalid filter '{unknown}'")),
            None => Ok(Filters(filters)),
        }
    }

    /// The listing shows this one. Without `all`, and without a filter by status, only what runs is shown.
    pub(super) fn match_container(&self, container: &Container, all: bool) -> bool {
        let (settings, status) = (&container.settings, container.status());
        let any = |filter: &str, matches: &dyn Fn(&str) -> bool| {
            self.0
                .get(filter)
                .is_none_or(|values| values.is_empty() || values.iter().any(|value| matches(value)))
        };
        (all || status.running || self.0.contains_key("status"))
            && any("id", &|value| container.id.starts_with(value))
            && any("status", &|value| value == state(status))
            && any("name", &|value| name_matches(&settings.name, value))
            && self.0.get("label").into_iter().flatten().all(|label| match label.split_once('=') {
                Some((key, value)) => settings.labels.get(key).is_some_and(|is| is == value),
                None => settings.labels.contains_key(label),
            })
    }
}

/// The engine takes a regular expression; of these, anchors and plain text are understood here.
fn name_matches(name: &str, pattern: &str) -> bool {
    let (starts, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (ends, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    [name.to_owned(), format!("/{name}")].iter().any(|name| match (starts, ends) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    })
}

/// RFC 3339 in UTC with nanoseconds.
pub(super) fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// The Gregorian date of a day after 1970-01-01, in years that begin in March, in eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::new(seconds, 7)), text);
        }
    }

    #[test]
    fn names_match_as_anchored_expressions_do() {
        for (pattern, matches) in [
            ("web", true),
            ("we", true),
            ("^web$", true),
            ("^/web$", true),
            ("^/we", true),
            ("eb$", true),
            ("^eb", false),
            ("^/we$", false),
            ("demo", false),
        ] {
            assert_eq!(name_matches("web", pattern), matches, "{pattern}");
        }
    }
}
