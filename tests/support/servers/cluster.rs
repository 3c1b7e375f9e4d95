//! Redis Cluster.

use std::net::SocketAddr;

use super::{process::wait_until, redis::Redis};

const SLOTS: usize = 16_384;

/// Masters that share all slots evenly: the first has the first of them. Starting takes two seconds,
/// for which a node of a cluster refuses everything.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[])
    }

    /// With settings as on the command line: `&["--cluster-require-full-coverage", "no"]`.
    ///
    /// A node is given up by the others after two seconds, `--cluster-node-timeout`.
    pub fn start_with(nodes: usize, args: &[&str]) -> Self {
        let setup = Redis::setup()
            .args(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
            .args(args);
        let nodes: Vec<_> = (0..nodes).map(|_| setup.clone().start()).collect();
        let first_of = |node: usize| SLOTS * node / nodes.len();
        for (at, node) in nodes.iter().enumerate() {
            // Of two with the same one would be given another, some time later.
            let epoch = (at + 1).to_string();
            assert!(node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).is_ok());
            let (first, last) = (first_of(at).to_string(), (first_of(at + 1) - 1).to_string());
            assert!(node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).is_ok());
        }
        for node in &nodes[1..] {
            let port = node.port().to_string();
            assert!(nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port]).is_ok());
        }
        let cluster = Self { nodes };
        cluster.wait();
        cluster
    }

    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| ([127, 0, 0, 1], node.port()).into()).collect()
    }

    /// Of each node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// Kills a node: the others go on as if it were there, until they give it up.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node anew, empty, with the slots it had. Returns once all those that run are ready:
    /// where one does not run, they are so only if the cluster may do without it.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
        self.wait();
    }

    pub fn freeze(&self, node: usize) {
        self.nodes[node].freeze();
    }

    pub fn thaw(&self, node: usize) {
        self.nodes[node].thaw();
    }

    pub fn slot_of(&self, key: &str) -> u16 {
        let mut running = self.nodes.iter().filter(|node| node.is_running());
        let node = running.next().expect("one runs");
        u16::try_from(node.command(&["CLUSTER", "KEYSLOT", key]).integer()).unwrap()
    }

    /// The node that has the key, as it was at the start.
    pub fn node_of(&self, key: &str) -> usize {
        let slot = usize::from(self.slot_of(key));
        (0..self.nodes.len()).rfind(|node| SLOTS * node / self.nodes.len() <= slot).unwrap()
    }

    /// Gives the slot of a key from the node that has it to another, and loses what is in it: all
    /// others answer `MOVED` from now on. [`node_of`](Self::node_of) does not know of it.
    pub fn move_slot_of(&self, key: &str, from: usize, to: usize) {
        let slot = self.slot_of(key).to_string();
        let id = |node: usize| self.nodes[node].command(&["CLUSTER", "MYID"]).text();
        let (from_id, to_id) = (id(from), id(to));
        for key in self.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10000"]).texts() {
            self.nodes[from].command(&["DEL", &key]);
        }
        // Who imports it has an epoch above all others when it owns it: nobody takes it back.
        let import = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id];
        assert!(self.nodes[to].command(&import).is_ok());
        let others = (0..self.nodes.len()).filter(|node| *node != to);
        for node in [to].into_iter().chain(others) {
            let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &to_id];
            assert!(self.nodes[node].command(&set).is_ok());
        }
    }

    /// Waits until each that runs says that all is well.
    pub fn wait(&self) {
        let known = self.nodes.len().to_string();
        wait_until("the cluster is ready", || {
            self.nodes.iter().filter(|node| node.is_running()).all(|node| {
                let info = node.command(&["CLUSTER", "INFO"]);
                let is = |name: &str, value: &str| info.field(name).as_deref() == Some(value);
                is("cluster_state", "ok") && is("cluster_known_nodes", &known)
            })
        });
    }
}
