//! S20, where the operator has a token: only the whole of it, once, in the one field it belongs in.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use crate::{
    origin::Raw,
    process::{Gateway, run, status, talk},
    row::kept,
};

const TOKEN: &str = "correct-horse";

/// What is sent, and what is answered.
const ROWS: [(&str, u16); 24] = [
    ("authorization: Bearer correct-horse", 200),
    ("authorization: bearer correct-horse", 200),
    ("Authorization: BEARER  correct-horse ", 200),
    // With the token a web page's request is as good as any other.
    ("authorization: Bearer correct-horse\r\norigin: http://elsewhere.example", 200),
    ("x-none: 1", 401),
    ("authorization:", 401),
    ("authorization: Bearer", 401),
    ("authorization: Bearer ", 401),
    ("authorization: correct-horse", 401),
    ("authorization: Bearer wrong", 401),
    ("authorization: Bearer correct-hors", 401),
    ("authorization: Bearer correct-horsf", 401),
    ("authorization: Bearer dorrect-horse", 401),
    ("authorization: Bearer correct-horse2", 401),
    ("authorization: Bearer Correct-Horse", 401),
    ("authorization: Bearer correct-horse correct-horse", 401),
    ("authorization: Bearer correct-horse, Bearer x", 401),
    ("authorization: Bearer \"correct-horse\"", 401),
    ("authorization: Basic correct-horse", 401),
    ("authorization: Bearer x\r\nauthorization: Bearer correct-horse", 401),
    ("authorization: Bearer correct-horse\r\nauthorization: Bearer correct-horse", 401),
    ("proxy-authorization: Bearer correct-horse", 401),
    ("cookie: token=correct-horse", 401),
    ("x-forwarded-for: 127.0.0.1", 401),
];

const PATHS: [&str; 4] = ["GET /status", "GET /ready", "POST /invalidate?all", "GET /no-such-path"];

#[tokio::test(flavor = "multi_thread")]
async fn where_a_token_is_set_nothing_is_answered_without_the_whole_of_it() {
    let origin = Raw::start().await;
    origin.plays(&kept(), "tokens");
    let path = std::env::temp_dir().join(format!("seawall-token-{}", std::process::id()));
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let file = path.to_str().unwrap();
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let gateway = behind(&origin, address, file);
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.admin.port()));
        for line in PATHS {
            for (fields, expected) in ROWS {
                let head = format!(
                    "{line} HTTP/1.1\r\nhost: 192.0.2.1\r\n{fields}\r\nconnection: close\r\n\
                     content-length: 0\r\n\r\n"
                );
                let answer = talk(admin, head.as_bytes()).await;
                let expected =
                    if line.ends_with("no-such-path") && expected == 200 { 404 } else { expected };
                assert_eq!(status(&answer), expected, "{line}: {fields:?}: {answer}");
                assert!(!answer.contains(TOKEN), "{answer}");
            }
        }
    }
    std::fs::remove_file(path).unwrap();
}

/// Where the operator is served at any address.
fn behind(origin: &Raw, address: &str, token: &str) -> Gateway {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let program = path.join("examples").join(format!("gateway{}", std::env::consts::EXE_SUFFIX));
    let url = format!("http://{}", origin.addr);
    let flags = ["--origin", &url, "--listen", "127.0.0.1:0", "--admin", address];
    let mut command = Command::new(program);
    command.args(flags).args(["--admin-token-file", token]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = || {
        let line = lines.next().unwrap().unwrap();
        line.split_once("http://").unwrap_or_else(|| panic!("{line:?}")).1.parse().unwrap()
    };
    Gateway { addr: printed(), admin: printed(), child }
}

#[test]
fn off_loopback_there_is_no_operator_without_a_token() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = run(&["--listen", "127.0.0.1:0", "--admin", addr], &[]);
        assert_eq!(output.status.code(), Some(2), "{addr}");
    }
}
