//! The least that can be a client of Redis and is dropped where its call is given up.

use std::net::Ipv4Addr;

use seawall::BoxError;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// `None`: there is no such key.
pub(super) type Reply = Option<String>;

/// Asks on a connection of its own, and reads one reply.
pub(super) async fn ask(port: u16, line: &str) -> Result<Reply, BoxError> {
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    let mut head = String::new();
    stream.read_line(&mut head).await?;
    match head.trim_end().split_at_checked(1) {
        Some(("+", said)) => Ok(Some(said.to_owned())),
        Some(("$", "-1")) => Ok(None),
        Some(("$", length)) => {
            let mut value = vec![0; length.parse::<usize>()? + 2];
            stream.read_exact(&mut value).await?;
            Ok(Some(String::from_utf8(value)?.trim_end().to_owned()))
        }
        _ => Err(format!("not a reply: {head:?}").into()),
    }
}
