//! How a connection is made.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value,
    aio::MultiplexedConnection, cmd, io::tcp::TcpSettings,
};
use tokio::time::timeout;

use super::{address::Host, backlog::Backlog, login::Login, sentinel::Sentinels, tls};
use crate::error::BoxError;

/// What the address does not say.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long an attempt to connect may take, and the reply to our own ping.
    pub(crate) connect_deadline: Duration,
    /// Who is trusted with TLS, instead of whom the system trusts.
    pub(crate) ca_pem: Option<Bytes>,
    /// What `CLIENT LIST` calls our connections.
    pub(crate) client_name: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_millis(500),
            ca_pem: None,
            client_name: Some("seawall".to_owned()),
        }
    }
}

/// All that a connection needs, but the host.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) login: Login,
    pub(super) db: i64,
    pub(super) tls: bool,
    pub(super) settings: Arc<Settings>,
}

impl Access {
    pub(super) fn host(&self, host: &Host) -> Result<Client, BoxError> {
        let (name, port) = (host.name.clone(), host.port);
        if self.tls {
            let (insecure, tls_params) = (false, None);
            let addr = ConnectionAddr::TcpTls { host: name, port, insecure, tls_params };
            tls::client(self.info(addr)?, self.settings.ca_pem.as_deref())
        } else {
            Ok(Client::open(self.info(ConnectionAddr::Tcp(name, port))?)?)
        }
    }

    pub(super) fn socket(&self, path: &Path) -> Result<Client, BoxError> {
        Ok(Client::open(self.info(ConnectionAddr::Unix(path.to_owned()))?)?)
    }

    fn info(&self, addr: ConnectionAddr) -> Result<ConnectionInfo, BoxError> {
        let info = addr.into_connection_info()?.set_redis_settings(self.login.greeting(self.db));
        Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }
}

/// Where a connection leads.
#[derive(Debug)]
pub(super) enum Target {
    Server(Client),
    Master(Sentinels),
}

impl Target {
    /// A connection that has answered a command.
    pub(super) async fn connect(
        &self,
        settings: &Settings,
    ) -> Result<MultiplexedConnection, BoxError> {
        match self {
            Self::Server(client) => {
                let greeting = async {
                    let mut connection = connect(client, settings).await?;
                    connection.send_packed_command(&cmd("PING")).await?;
                    Ok(connection)
                };
                within(settings.connect_deadline, greeting).await
            }
            Self::Master(sentinels) => sentinels.master(settings).await,
        }
    }
}

pub(super) async fn connect(
    client: &Client,
    settings: &Settings,
) -> Result<MultiplexedConnection, BoxError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_deadline))
        .set_response_timeout(None)
        // The backlog is the bound: nothing waits for a place in the channel.
        .set_pipeline_buffer_size((2 * Backlog::MOST / Backlog::COMMAND) as usize);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    if let Some(name) = &settings.client_name {
        // Where that is not allowed, it has no name.
        let _ = connection.send_packed_command(cmd("CLIENT").arg("SETNAME").arg(name)).await?;
    }
    Ok(connection)
}

/// One command on a connection of its own.
pub(super) async fn ask(
    client: &Client,
    settings: &Settings,
    command: &Cmd,
) -> Result<Value, BoxError> {
    let answer = async {
        let mut connection = connect(client, settings).await?;
        Ok(connection.send_packed_command(command).await?)
    };
    within(settings.connect_deadline, answer).await
}

pub(super) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    timeout(deadline, work).await.unwrap_or_else(|_| Err("no answer within the deadline".into()))
}
