//! A cluster: a node for each master, and the task that knows whose slots are whose.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, Value, cmd, pipe};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    address::Host,
    connect::{Access, Target, ask, within},
    node::{BackOff, Node, Task},
    replies::{Expected, accepted, anything, has_code, is_array, is_text, text},
    slots::{SLOTS, Share, redirected, shares, slot},
};
use crate::{
    error::BoxError,
    store::Declined,
    sync::{Mutex, lock},
};

/// How often we look whether slots have moved although nobody said so; and while a node is out.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY_WHILE_OUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
    _supervisor: Task,
}

#[derive(Debug)]
struct Shared {
    map: Mutex<Arc<Map>>,
    /// Somebody found that it is not as the map says.
    stale: Notify,
    seeds: Vec<Host>,
    access: Access,
    /// Whether its nodes have been asked which of them has what.
    tried: AtomicBool,
}

/// The masters, and which of them has a slot.
#[derive(Debug)]
struct Map {
    nodes: HashMap<Host, Arc<Node>>,
    owners: Vec<Option<Arc<Node>>>,
}

impl Cluster {
    pub(super) fn start(seeds: Vec<Host>, access: Access) -> Result<Self, BoxError> {
        for host in &seeds {
            access.host(host)?;
        }
        let map = Map { nodes: HashMap::new(), owners: vec![None; SLOTS] };
        let shared = Arc::new(Shared {
            map: Mutex::new(Arc::new(map)),
            stale: Notify::new(),
            seeds,
            access,
            tried: AtomicBool::new(false),
        });
        let supervisor = Task::spawn(Arc::clone(&shared).supervise());
        Ok(Self { shared, _supervisor: supervisor })
    }

    #[cfg(all(test, not(seawall_loom)))]
    pub(super) fn is_connected(&self) -> bool {
        self.shared.map().nodes.values().any(|node| node.is_connected())
    }

    pub(super) fn masters(&self) -> Vec<Arc<Node>> {
        self.shared.map().nodes.values().cloned().collect()
    }

    /// The node that has the key.
    ///
    /// While others are connected, a store without this one is well: there is nothing to wait for.
    pub(super) fn node(&self, key: &[u8]) -> Result<Arc<Node>, BoxError> {
        let map = self.shared.map();
        match &map.owners[slot(key)] {
            Some(node) if node.is_connected() => return Ok(Arc::clone(node)),
            _ => self.shared.stale.notify_one(),
        }
        let missing = "the node that has this key is not connected";
        // Nor is one that has not had its time yet.
        let untried = !self.shared.tried.load(Relaxed);
        if untried || map.nodes.values().any(|node| node.is_connected()) {
            Err(Declined::new(missing).into())
        } else {
            Err(missing.into())
        }
    }

    /// Sends the command to the node that has the key, which may be elsewhere by now.
    pub(super) async fn send(
        &self,
        key: &[u8],
        command: &Cmd,
        expected: Expected,
    ) -> Result<Value, BoxError> {
        let reply = self.node(key)?.send(command, expected).await?;
        let Value::ServerError(error) = &reply else { return Ok(reply) };
        let asking = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" => {
                self.shared.stale.notify_one();
                return Ok(reply);
            }
            _ => return Ok(reply),
        };
        if !asking {
            self.shared.stale.notify_one();
        }
        let elsewhere = redirected(error.details());
        let node = elsewhere.and_then(|host| self.shared.map().nodes.get(&host).cloned());
        match node {
            Some(node) if asking => {
                let mut commands = pipe();
                commands.cmd("ASKING").add_command(command.clone());
                let mut replies = node.send_all(&commands, anything).await?;
                Ok(replies.pop().filter(|reply| fits(reply, expected)).unwrap_or(reply))
            }
            Some(node) => node.send(command, expected).await,
            None => Ok(reply),
        }
    }

    /// The replies to commands that all are about keys of `node`.
    pub(super) async fn send_all(
        &self,
        node: &Node,
        commands: &Pipeline,
        expected: Expected,
    ) -> Result<Vec<Value>, BoxError> {
        let replies = node.send_all(commands, expected).await?;
        if replies.iter().any(|reply| has_code(reply, "MOVED")) {
            self.shared.stale.notify_one();
        }
        Ok(replies)
    }

    /// Whether any node says that the cluster is well.
    pub(super) async fn ping(&self) -> Result<(), BoxError> {
        let mut answers = JoinSet::new();
        for node in self.masters() {
            answers.spawn(async move {
                let mut question = cmd("CLUSTER");
                question.arg("INFO");
                let reply = accepted(node.send(&question, is_text).await?)?;
                if text(&reply).is_some_and(|info| info.contains("cluster_state:ok")) {
                    Ok(())
                } else {
                    Err(BoxError::from("the cluster is not well"))
                }
            });
        }
        let mut failure = "no node is known".into();
        while let Some(answer) = answers.join_next().await {
            match answer.unwrap_or_else(|panic| Err(panic.into())) {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn fits(reply: &Value, expected: Expected) -> bool {
    matches!(reply, Value::ServerError(_)) || expected(reply)
}

impl Shared {
    fn map(&self) -> Arc<Map> {
        Arc::clone(&lock(&self.map))
    }

    async fn supervise(self: Arc<Self>) {
        let mut back_off = BackOff::default();
        loop {
            let known = match self.learn().await {
                Ok(shares) => self.adopt(&shares).is_ok(),
                Err(_) => false,
            };
            self.tried.store(true, Relaxed);
            sleep(back_off.next()).await;
            if !known {
                continue;
            }
            let all = self.map().nodes.values().all(|node| node.is_connected());
            let every = if all { LOOK_EVERY } else { LOOK_EVERY_WHILE_OUT };
            if timeout(every, self.stale.notified()).await.is_err() {
                back_off = BackOff::default();
            }
        }
    }

    /// Asks the nodes that are connected, one by one; then everybody else at once.
    async fn learn(&self) -> Result<Vec<Share>, BoxError> {
        let map = self.map();
        let deadline = self.access.settings.connect_deadline;
        let mut connected: Vec<_> =
            map.nodes.iter().filter(|(_, node)| node.is_connected()).collect();
        fastrand::shuffle(&mut connected);
        for (host, node) in connected {
            let question = question();
            let reply = async { node.send(&question, is_array).await };
            if let Ok(shares) = within(deadline, reply).await.and_then(|reply| shares(reply, host))
            {
                return Ok(shares);
            }
        }
        let mut answers = JoinSet::new();
        let mut hosts = self.seeds.clone();
        hosts.extend(map.nodes.keys().filter(|host| !self.seeds.contains(host)).cloned());
        for host in hosts {
            let (client, settings) = (self.access.host(&host)?, Arc::clone(&self.access.settings));
            answers
                .spawn(async move { shares(ask(&client, &settings, &question()).await?, &host) });
        }
        let mut failure = "no node answered".into();
        while let Some(answer) = answers.join_next().await {
            match answer.unwrap_or_else(|panic| Err(panic.into())) {
                Ok(shares) => return Ok(shares),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Nodes that stay keep their connections; those that are masters no more lose theirs.
    fn adopt(&self, shares: &[Share]) -> Result<(), BoxError> {
        let old = self.map();
        let mut map = Map { nodes: HashMap::new(), owners: vec![None; SLOTS] };
        for Share { slots, master } in shares {
            let node = match map.nodes.get(master).or_else(|| old.nodes.get(master)) {
                Some(node) => Arc::clone(node),
                None => {
                    let target = Target::Server(self.access.host(master)?);
                    Arc::new(Node::start(target, Arc::clone(&self.access.settings)))
                }
            };
            map.owners[slots.clone()].fill(Some(Arc::clone(&node)));
            map.nodes.insert(master.clone(), node);
        }
        *lock(&self.map) = Arc::new(map);
        Ok(())
    }
}

fn question() -> Cmd {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    question
}
