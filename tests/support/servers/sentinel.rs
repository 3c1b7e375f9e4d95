//! A Redis and its replica, by themselves or with a Sentinel that looks after them.

use std::mem;

use super::{process::wait_until, redis::Redis};

/// A master and its replica.
#[derive(Debug)]
pub struct Pair {
    pub master: Redis,
    pub replica: Redis,
}

impl Pair {
    pub fn start() -> Self {
        // A replica that asks for the data is given it at once.
        let master = Redis::start_with(&["--repl-diskless-sync-delay", "0"]);
        let replica = Redis::start_with(&["--repl-diskless-sync-delay", "0"]);
        follow(&replica, &master);
        Self { master, replica }
    }

    /// Has them change places, as an operator does it: the old master is read-only from now on.
    pub fn promote(&mut self) {
        assert!(self.replica.command(&["REPLICAOF", "NO", "ONE"]).is_ok());
        mem::swap(&mut self.master, &mut self.replica);
        follow(&self.replica, &self.master);
    }

    /// Waits until the replica has all that the master has now.
    pub fn wait(&self) {
        wait_for(&self.replica, &self.master);
    }
}

fn follow(replica: &Redis, master: &Redis) {
    let port = master.port().to_string();
    assert!(replica.command(&["REPLICAOF", "127.0.0.1", &port]).is_ok());
    wait_for(replica, master);
}

fn wait_for(replica: &Redis, master: &Redis) {
    let offset: i64 = master.info("master_repl_offset").parse().unwrap();
    wait_until("the replica has what the master has", || {
        let info = replica.command(&["INFO", "replication"]);
        let at = info.field("slave_repl_offset").and_then(|at| at.parse::<i64>().ok());
        info.field("master_port") == Some(master.port().to_string())
            && info.field("master_link_status").as_deref() == Some("up")
            && at.is_some_and(|at| at >= offset)
    });
}

/// A Sentinel of a master and its replica, which decides alone, 300 ms after it has last heard the
/// master.
#[derive(Debug)]
pub struct Sentinel {
    sentinel: Redis,
    nodes: [Redis; 2],
}

impl Sentinel {
    /// What the master is called.
    pub const NAME: &str = "seawall";

    pub fn start() -> Self {
        let Pair { master, replica } = Pair::start();
        let config = format!(
            "sentinel monitor {name} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {name} 300\n\
             sentinel failover-timeout {name} 3000\n",
            name = Self::NAME,
            port = master.port(),
        );
        let sentinel = Redis::setup().sentinel(config).start();
        let sentinel = Self { sentinel, nodes: [master, replica] };
        wait_until("the sentinel knows the replica", || {
            let replicas = sentinel.sentinel.command(&["SENTINEL", "REPLICAS", Self::NAME]);
            replicas.items().iter().any(|replica| {
                let texts = replica.texts();
                let is = |pair: [&str; 2]| texts.chunks(2).any(|found| found == pair);
                is(["flags", "slave"]) && is(["master-link-status", "ok"])
            })
        });
        sentinel
    }

    /// Of the Sentinel.
    pub fn port(&self) -> u16 {
        self.sentinel.port()
    }

    /// Of the Sentinel.
    pub fn url(&self) -> String {
        self.sentinel.url()
    }

    /// The Sentinel itself, to be killed, frozen and restarted.
    pub fn itself(&mut self) -> &mut Redis {
        &mut self.sentinel
    }

    /// The port of the master, as the Sentinel says.
    pub fn master_port(&self) -> u16 {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME];
        self.sentinel.command(&ask).texts()[1].parse().unwrap()
    }

    /// The master, as the Sentinel says,
    pub fn master(&mut self) -> &mut Redis {
        let port = self.master_port();
        self.nodes.iter_mut().find(|node| node.port() == port).expect("one of ours")
    }

    /// and the other one.
    pub fn other(&mut self) -> &mut Redis {
        let port = self.master_port();
        self.nodes.iter_mut().find(|node| node.port() != port).expect("one of ours")
    }

    /// Kills the master; that the other becomes it takes a few seconds.
    pub fn kill_master(&mut self) {
        self.master().kill();
    }

    /// Waits until the master is another than the one at this port, and says so itself.
    pub fn wait_for_another_than(&self, port: u16) {
        wait_until("failed over", || {
            let now = self.master_port();
            let node = self.nodes.iter().find(|node| node.port() == now);
            now != port && node.is_some_and(|node| node.info("role") == "master")
        });
    }

    /// Waits until the one that is not master has all that the master has now.
    pub fn wait_for_replica(&self) {
        let port = self.master_port();
        let [first, second] = &self.nodes;
        let (replica, master) =
            if first.port() == port { (second, first) } else { (first, second) };
        wait_for(replica, master);
    }

    /// Has them change places while both run. Returns once they have.
    pub fn fail_over(&self) {
        let port = self.master_port();
        assert!(self.sentinel.command(&["SENTINEL", "FAILOVER", Self::NAME]).is_ok());
        self.wait_for_another_than(port);
    }
}
