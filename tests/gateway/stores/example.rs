//! The example `shared_redis` as a process: what it prints while its Redis is killed and comes back.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::*;

/// The example, killed when dropped.
struct Shown {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Shown {
    fn start(url: &str) -> Self {
        let mut command = Command::new(super::super::support::example("shared_redis"));
        let mut child = command.arg(url).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on until each of these has been said, in any order.
    fn until_said(&mut self, texts: &[&str]) {
        let mut left = texts.to_vec();
        for line in self.lines.by_ref().take(400).map(Result::unwrap) {
            // Whoever asks is answered, whatever Redis does.
            assert!(!line.starts_with("asked ") || line.contains("(200 OK, "), "{line}");
            let said = |text: &str| text.split(" … ").all(|part| line.contains(part));
            left.retain(|text| !said(text));
            if left.is_empty() {
                return;
            }
        }
        panic!("never said: {left:?}");
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_example_shows_what_is_shared_and_goes_on_without_redis() {
    let mut redis = Redis::start();
    let mut shown = Shown::start(&redis.url());
    let found =
        ["asked one: … made by two … seawall; hit", "asked two: … made by one … seawall; hit"];
    shown.until_said(&found);
    redis.kill();
    shown.until_said(&["seen by one: Open", "seen by two: Open"]);
    shown.until_said(&["asked one: … made by one … stored", "asked two: … made by two … stored"]);
    redis.restart();
    shown.until_said(&["seen by one: Closed", "seen by two: Closed"]);
    shown.until_said(&found);
}
