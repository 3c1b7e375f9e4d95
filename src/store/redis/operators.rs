//! What operators ask: which keys there are, how their values begin, and that they go.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Pipeline, Value, cmd, pipe};

use super::{
    cluster::Cluster,
    connect::within,
    node::{Link, Node},
    replies::{Expected, accepted, has_code, is_array, is_count, is_value, text, value},
    servers::{Servers, Topology},
};
use crate::error::BoxError;

/// How long a server may take for one batch.
const STEP: Duration = Duration::from_secs(5);
/// Commands sent at once.
const BATCH: usize = 256;

impl Servers {
    /// Goes through every key `prefix:…` there is, in batches of about this size, each key at least once.
    ///
    /// It reads the whole key space, other prefixes too, and leaves the server time in between.
    pub(crate) fn scan(&self, prefix: &str, batch: usize) -> Result<Scan<'_>, BoxError> {
        let nodes: Vec<_> = match &*self.0 {
            Topology::One(node) => vec![Scanned::Only(node)],
            Topology::Many(cluster) => cluster.masters().into_iter().map(Scanned::Master).collect(),
        };
        if nodes.is_empty() {
            return Err("no node of the cluster is known".into());
        }
        Ok(Scan { nodes, at: None, pattern: format!("{prefix}:*"), batch: batch.max(1) })
    }

    /// The first `bytes` of each value, at least one; `None` where there is no value.
    pub(crate) async fn beginnings(
        &self,
        keys: &[Vec<u8>],
        bytes: usize,
    ) -> Result<Vec<Option<Bytes>>, BoxError> {
        let ask = |commands: &mut Pipeline, key: &[u8]| {
            commands.cmd("GETRANGE").arg(key).arg(0).arg(bytes.saturating_sub(1));
        };
        let replies = self.each(keys, ask, is_value).await?;
        let read = |reply| match reply {
            // A foreign key with our prefix.
            reply if has_code(&reply, "WRONGTYPE") => Ok(None),
            reply => Ok(value(accepted(reply)?).filter(|value| !value.is_empty())),
        };
        replies.into_iter().map(read).collect()
    }

    /// Forgets these keys, and says how many of them there were.
    pub(crate) async fn delete_many(&self, keys: &[Vec<u8>]) -> Result<u64, BoxError> {
        let ask = |commands: &mut Pipeline, key: &[u8]| {
            commands.cmd("DEL").arg(key);
        };
        let mut deleted = 0;
        for reply in self.each(keys, ask, is_count).await? {
            if let Value::Int(count) = accepted(reply)? {
                deleted += u64::try_from(count).unwrap_or(0);
            }
        }
        Ok(deleted)
    }

    /// A reply for each key, in their order.
    async fn each(
        &self,
        keys: &[Vec<u8>],
        ask: impl Fn(&mut Pipeline, &[u8]),
        expected: Expected,
    ) -> Result<Vec<Value>, BoxError> {
        let mut replies = vec![Value::Nil; keys.len()];
        match &*self.0 {
            Topology::One(node) => {
                let all: Vec<_> = (0..keys.len()).collect();
                for batch in all.chunks(BATCH) {
                    let commands = commands(keys, batch, &ask);
                    let answered = within(STEP, node.send_all(&commands, expected)).await?;
                    put(&mut replies, batch, answered);
                }
            }
            Topology::Many(cluster) => {
                for (node, indices) in by_node(cluster, keys)? {
                    for batch in indices.chunks(BATCH) {
                        let commands = commands(keys, batch, &ask);
                        let sent = cluster.send_all(&node, &commands, expected);
                        put(&mut replies, batch, within(STEP, sent).await?);
                    }
                }
            }
        }
        Ok(replies)
    }
}

fn commands(keys: &[Vec<u8>], batch: &[usize], ask: impl Fn(&mut Pipeline, &[u8])) -> Pipeline {
    let mut commands = pipe();
    for &index in batch {
        ask(&mut commands, &keys[index]);
    }
    commands
}

fn put(replies: &mut [Value], batch: &[usize], answered: Vec<Value>) {
    for (&index, reply) in batch.iter().zip(answered) {
        replies[index] = reply;
    }
}

/// A node, and the indices of the keys that it has.
type OfNode = (Arc<Node>, Vec<usize>);

fn by_node(cluster: &Cluster, keys: &[Vec<u8>]) -> Result<Vec<OfNode>, BoxError> {
    let mut nodes = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        let node = cluster.node(key)?;
        let of_node = nodes.entry(Arc::as_ptr(&node)).or_insert_with(|| (node, Vec::new()));
        of_node.1.push(index);
    }
    Ok(nodes.into_values().collect())
}

/// A pass through the keys of all nodes.
pub(crate) struct Scan<'a> {
    /// Those that are not done; the last of them is next, or half done.
    nodes: Vec<Scanned<'a>>,
    /// A cursor is of no use on another connection, which may be to another server.
    at: Option<(Arc<Link>, String)>,
    pattern: String,
    batch: usize,
}

enum Scanned<'a> {
    Only(&'a Node),
    Master(Arc<Node>),
}

impl Scan<'_> {
    /// The next keys, which may be none; `None` where there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, BoxError> {
        let node = match self.nodes.last() {
            None => return Ok(None),
            Some(Scanned::Only(node)) => *node,
            Some(Scanned::Master(node)) => &**node,
        };
        let (link, cursor) = match self.at.take() {
            Some(at) => at,
            None => (node.link()?, "0".to_owned()),
        };
        let mut command = cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(self.batch);
        let reply = within(STEP, node.send_on(&link, &command, is_array)).await?;
        let (next, keys) = scanned(accepted(reply)?).ok_or("not a reply to a scan")?;
        if next == "0" {
            self.nodes.pop();
        } else {
            self.at = Some((link, next));
        }
        Ok(Some(keys))
    }
}

fn scanned(reply: Value) -> Option<(String, Vec<Vec<u8>>)> {
    let Value::Array(reply) = reply else { return None };
    let Ok([cursor, Value::Array(keys)]) = <[Value; 2]>::try_from(reply) else { return None };
    let key = |key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    };
    Some((text(&cursor)?.to_owned(), keys.into_iter().map(key).collect::<Option<_>>()?))
}
