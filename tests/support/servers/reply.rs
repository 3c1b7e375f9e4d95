//! The least that can be a client of Redis.

use std::io::{self, BufRead, BufReader, Read, Write};

/// What Redis says to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Nil,
    Simple(String),
    Bulk(Vec<u8>),
    Integer(i64),
    Array(Vec<Self>),
    Error(String),
}

impl Reply {
    /// The text that it is, in whichever form. Panics where it is none.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a text: {other:?}"),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("not bytes: {other:?}"),
        }
    }

    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(integer) => *integer,
            other => panic!("not an integer: {other:?}"),
        }
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The texts of an array.
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(Self::text).collect()
    }

    pub fn is_ok(&self) -> bool {
        *self == Self::Simple("OK".to_owned())
    }

    /// The line of `INFO` that has this name.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    }

    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        let number = || rest.parse::<i64>().map_err(|_| not_a_reply(line));
        Ok(match kind {
            "+" => Self::Simple(rest.to_owned()),
            "-" => Self::Error(rest.to_owned()),
            ":" => Self::Integer(number()?),
            "$" => match usize::try_from(number()?) {
                Ok(length) => Self::Bulk(bulk(from, length)?),
                Err(_) => Self::Nil,
            },
            "*" => match usize::try_from(number()?) {
                Ok(length) => {
                    Self::Array((0..length).map(|_| Self::read(from)).collect::<io::Result<_>>()?)
                }
                Err(_) => Self::Nil,
            },
            _ => return Err(not_a_reply(line)),
        })
    }
}

fn bulk(from: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length + 2];
    from.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn not_a_reply(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a reply: {line:?}"))
}

/// Says each command on this connection, and returns what was said to the last.
pub fn ask(stream: impl Read + Write, commands: &[Vec<&[u8]>]) -> io::Result<Reply> {
    // One reader throughout, that nothing it has read ahead is lost.
    let mut stream = BufReader::new(stream);
    let mut last = Reply::Nil;
    for command in commands {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend_from_slice(word);
            bytes.extend(b"\r\n");
        }
        stream.get_mut().write_all(&bytes)?;
        last = Reply::read(&mut stream)?;
        if let Reply::Error(_) = last {
            break;
        }
    }
    Ok(last)
}
