//! By which labels a container belongs to an app, a proc and an instance.
//!
//! A scheme says which labels to ask the engine for, and decides about each container that comes back. The
//! second never leans on the first.
//!
//! May not know: requests, replies, what is done when several containers match.

use std::collections::BTreeMap;

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
/// `True` on the containers of `docker compose run`, which are nobody's instance.
const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
pub(super) const STACK_NAMESPACE: &str = "com.docker.stack.namespace";
const SWARM_SERVICE: &str = "com.docker.swarm.service.name";
const SWARM_TASK: &str = "com.docker.swarm.task.name";

/// One way to find an app's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Three labels, each with one part of the target as its value. Containers of `docker compose run` never
    /// match, whatever the labels' names: they carry the service's own labels too.
    Labels(Labels),
    /// A Swarm stack: the stack is the app, its service `<app>_<proc>` the proc, the task's slot the instance
    /// (for a global service the node's id). Only the containers of the engine's own node are found.
    Swarm,
}

/// The names of the three labels of [`Scheme::Labels`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The label whose value is the app.
    pub app: String,
    /// The label whose value is the proc.
    pub proc: String,
    /// The label whose value is the instance. A container without it is the instance "" (found only as the
    /// only one); so is every container where this name is empty.
    pub instance: String,
}

impl Labels {
    /// Docker Compose: project, service, container number.
    pub fn compose() -> Labels {
        Labels {
            app: COMPOSE_PROJECT.to_owned(),
            proc: COMPOSE_SERVICE.to_owned(),
            instance: COMPOSE_NUMBER.to_owned(),
        }
    }
}

impl Scheme {
    /// What to ask the engine for. The instance is left out, so that an error can say which ones there are.
    pub(super) fn labels_of(&self, app: &str, proc: &str) -> [(&str, String); 2] {
        match self {
            Scheme::Labels(labels) => [(&labels.app, app.to_owned()), (&labels.proc, proc.to_owned())],
            Scheme::Swarm => [(STACK_NAMESPACE, app.to_owned()), (SWARM_SERVICE, service_name(app, proc))],
        }
    }

    /// App, proc and instance of the container with these labels; None where it has none.
    pub(super) fn place_of(&self, labels: &BTreeMap<String, String>) -> Option<(String, String, String)> {
        let (app, proc) = match self {
            Scheme::Labels(names) => (labels.get(&names.app)?.as_str(), labels.get(&names.proc)?.as_str()),
            Scheme::Swarm => {
                let app = labels.get(STACK_NAMESPACE)?.as_str();
                let service = labels.get(SWARM_SERVICE)?;
                (app, service.strip_prefix(app)?.strip_prefix('_')?)
            }
        };
        let instance = self.instance_of(app, proc, labels)?;
        (!app.is_empty() && !proc.is_empty()).then(|| (app.to_owned(), proc.to_owned(), instance.to_owned()))
    }

    /// Which instance of the app's proc the container with these labels is; None when it is none.
    pub(super) fn instance_of<'a>(
        &self,
        app: &str,
        proc: &str,
        labels: &'a BTreeMap<String, String>,
    ) -> Option<&'a str> {
        let label = |name: &str| labels.get(name).map(String::as_str);
        match self {
            Scheme::Labels(names) => {
                let oneoff = label(COMPOSE_ONEOFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
                let matches = label(&names.app) == Some(app) && label(&names.proc) == Some(proc) && !oneoff;
                matches.then(|| label(&names.instance).unwrap_or(""))
            }
            Scheme::Swarm => {
                let service = service_name(app, proc);
                let matches = label(STACK_NAMESPACE) == Some(app) && label(SWARM_SERVICE) == Some(&service);
                matches.then(|| label(SWARM_TASK).and_then(|task| slot(task, &service)).unwrap_or(""))
            }
        }
    }
}

/// Swarm's name for a proc of a stack.
pub(super) fn service_name(app: &str, proc: &str) -> String {
    format!("{app}_{proc}")
}

/// The slot of `service.slot.taskid`. Read from the end: a service's name may hold dots.
fn slot<'a>(task: &'a str, service: &str) -> Option<&'a str> {
    let (rest, _task_id) = task.rsplit_once('.')?;
    let (of_service, slot) = rest.rsplit_once('.')?;
    (of_service == service).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_container_s_place_is_one_that_finds_it() {
        let swarm = [(STACK_NAMESPACE, "a_b"), (SWARM_SERVICE, "a_b_c"), (SWARM_TASK, "a_b_c.1.t")];
        let compose = [(COMPOSE_PROJECT, "shop"), (COMPOSE_SERVICE, "web"), (COMPOSE_NUMBER, "2")];
        let oneoff = [compose[0], compose[1], (COMPOSE_ONEOFF, "True")];
        let own = Scheme::Labels(Labels::compose());
        let place = |parts: [&str; 3]| Some(parts.map(str::to_owned).into());
        let table: [(&Scheme, &[(&str, &str)], _); 7] = [
            (&own, &compose, place(["shop", "web", "2"])),
            (&own, &compose[..2], place(["shop", "web", ""])),
            (&own, &oneoff, None),
            (&own, &compose[1..], None),
            (&Scheme::Swarm, &swarm, place(["a_b", "c", "1"])),
            (&Scheme::Swarm, &swarm[..1], None),
            (&Scheme::Swarm, &[swarm[0], (SWARM_SERVICE, "other")], None),
        ];
        for (scheme, pairs, expected) in table {
            assert_eq!(scheme.place_of(&labels(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn compose_labels() {
        let compose = Scheme::Labels(Labels::compose());
        let (project, service) = ((COMPOSE_PROJECT, "shop"), (COMPOSE_SERVICE, "web"));
        for (pairs, instance) in [
            (vec![project, service, (COMPOSE_NUMBER, "2"), (COMPOSE_ONEOFF, "False")], Some("2")),
            (vec![project, service], Some("")),
            (vec![project, service, (COMPOSE_NUMBER, "1"), (COMPOSE_ONEOFF, "True")], None),
            (vec![project, service, (COMPOSE_ONEOFF, "true")], None),
            (vec![project, (COMPOSE_SERVICE, "web2")], None),
            (vec![project, (COMPOSE_SERVICE, "WEB")], None),
            (vec![(COMPOSE_PROJECT, "shop "), service], None),
            (vec![project], None),
            (vec![], None),
        ] {
            assert_eq!(compose.instance_of("shop", "web", &labels(&pairs)), instance, "{pairs:?}");
        }
    }

    #[test]
    fn labels_of_ones_own() {
        let own = Scheme::Labels(Labels { app: "a".into(), proc: "p".into(), instance: String::new() });
        let have = [("a", "shop"), ("p", "web"), ("", "7")];
        assert_eq!(own.labels_of("shop", "web"), [("a", "shop".to_owned()), ("p", "web".to_owned())]);
        assert_eq!(own.instance_of("shop", "web", &labels(&have[..2])), Some(""));
        let oneoff = [have[0], have[1], (COMPOSE_ONEOFF, "True")];
        assert_eq!(own.instance_of("shop", "web", &labels(&oneoff)), None);
    }

    #[test]
    fn swarm_labels() {
        let stack = (STACK_NAMESPACE, "shop");
        let service = (SWARM_SERVICE, "shop_web");
        for (pairs, instance) in [
            (vec![stack, service, (SWARM_TASK, "shop_web.3.x9k2")], Some("3")),
            (vec![stack, service, (SWARM_TASK, "shop_web.nodeid00.x9k2")], Some("nodeid00")),
            (vec![stack, service, (SWARM_TASK, "other.3.x9k2")], Some("")),
            (vec![stack, service, (SWARM_TASK, "shop_web.3")], Some("")),
            (vec![stack, service], Some("")),
            (vec![stack, (SWARM_SERVICE, "web"), (SWARM_TASK, "web.3.x9k2")], None),
            (vec![stack, (SWARM_SERVICE, "shop_web_x")], None),
            (vec![(STACK_NAMESPACE, "shop_web"), service], None),
            (vec![service], None),
        ] {
            assert_eq!(Scheme::Swarm.instance_of("shop", "web", &labels(&pairs)), instance, "{pairs:?}");
        }
    }

    #[test]
    fn slots_are_read_from_the_end() {
        assert_eq!(slot("shop_a.b.3.x9k2", "shop_a.b"), Some("3"));
        assert_eq!(slot("shop_a.3.4.x9k2", "shop_a"), None);
        assert_eq!(slot("shop_a.3.4.x9k2", "shop_a.3"), Some("4"));
        assert_eq!(slot("", ""), None);
        assert_eq!(slot("..", ""), Some(""));
    }

    #[test]
    fn one_stack_is_not_anothers_beginning() {
        // Service a_b_c is b_c of stack a, or c of stack a_b: the namespace tells.
        let have = labels(&[(STACK_NAMESPACE, "a_b"), (SWARM_SERVICE, "a_b_c"), (SWARM_TASK, "a_b_c.1.t")]);
        assert_eq!(Scheme::Swarm.instance_of("a_b", "c", &have), Some("1"));
        assert_eq!(Scheme::Swarm.instance_of("a", "b_c", &have), None);
    }
}
