//! Sentinels, who know which server is the master.

use redis::{Client, Cmd, Value, aio::MultiplexedConnection, cmd};
use tokio::task::JoinSet;

use super::{
    address::Host,
    connect::{Access, Settings, ask, connect, within},
    login::Login,
    replies::{heard, text},
};
use crate::error::BoxError;

#[derive(Debug)]
pub(super) struct Sentinels {
    clients: Vec<Client>,
    master: String,
    access: Access,
}

impl Sentinels {
    pub(super) fn new(
        hosts: &[Host],
        master: String,
        login: Login,
        access: Access,
    ) -> Result<Self, BoxError> {
        let theirs = Access { login, db: 0, ..access.clone() };
        let clients = hosts.iter().map(|host| theirs.host(host)).collect::<Result<_, _>>()?;
        Ok(Self { clients, master, access })
    }

    /// A connection to a server that says itself that it is the master.
    ///
    /// All are asked at once, and each answer is tried as it comes: one that is frozen or has not heard
    /// of a failover costs nothing.
    pub(super) async fn master(
        &self,
        settings: &Settings,
    ) -> Result<MultiplexedConnection, BoxError> {
        let mut answers = JoinSet::new();
        for client in &self.clients {
            let (client, settings, question) = (client.clone(), settings.clone(), self.question());
            answers.spawn(async move { named(ask(&client, &settings, &question).await?) });
        }
        let mut tried = Vec::new();
        let mut failure = "no sentinel answered".into();
        while let Some(answer) = answers.join_next().await {
            match answer.unwrap_or_else(|panic| Err(panic.into())) {
                Ok(host) if tried.contains(&host) => {}
                Ok(host) => {
                    match self.connect(&host, settings).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => failure = error,
                    }
                    tried.push(host);
                }
                Err(error) if tried.is_empty() => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    fn question(&self) -> Cmd {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        question
    }

    async fn connect(
        &self,
        host: &Host,
        settings: &Settings,
    ) -> Result<MultiplexedConnection, BoxError> {
        let client = self.access.host(host)?;
        let introduced = async {
            let mut connection = connect(&client, settings).await?;
            let role = heard(connection.send_packed_command(&cmd("ROLE")).await?)?;
            match role {
                Value::Array(said) if said.first().and_then(text) == Some("master") => {
                    Ok(connection)
                }
                _ => Err("the server that a sentinel names is not a master".into()),
            }
        };
        within(settings.connect_deadline, introduced).await
    }
}

fn named(reply: Value) -> Result<Host, BoxError> {
    match heard(reply)? {
        Value::Nil => Err("the sentinel knows no master of this name".into()),
        Value::Array(said) => match &said[..] {
            [name, port] => text(name)
                .zip(text(port).and_then(|port| port.parse().ok()))
                .map(|(name, port)| Host { name: name.to_owned(), port })
                .ok_or_else(|| "not the address of a master".into()),
            _ => Err("not the address of a master".into()),
        },
        _ => Err("not the address of a master".into()),
    }
}
