//! Bytes as the tables write them, and answers read from bytes.

/// The bytes of a text: a line's end is CRLF, `␊` (U+240A) is LF alone, `\r` is CR alone, any other
/// character up to `\u{ff}` is the byte of that number.
pub(crate) fn encoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 64);
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            bytes.extend(b"\r\n");
        }
        if line.is_ascii() {
            bytes.extend(line.as_bytes());
            continue;
        }
        bytes.extend(line.chars().map(|c| match c {
            '␊' => b'\n',
            c => u8::try_from(u32::from(c)).expect("a byte"),
        }));
    }
    bytes
}

/// Every byte as the character of its number, so that nothing is lost.
pub(crate) fn decoded(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => text.to_owned(),
        _ => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// The user of a request that names none.
pub(crate) const NOBODY: &str = "any";

/// Ends a text whose connection ends with it.
pub(crate) const CUT: &str = "<cut>";

/// What follows it is sent once the answer before it has landed.
pub(crate) const LATER: &str = "<later>";

/// One answer as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Its body is as long as its head says.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.fields(name).next().map(str::to_owned)
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.told().is_some_and(|told| told.starts_with("seawall; hit"))
    }

    /// For whom the origin made it; `None` where it has not.
    pub(crate) fn owner(&self) -> Option<String> {
        let in_body = || Some(self.body.strip_prefix("for ")?.get(..3)?.to_owned());
        self.field("x-for").or_else(in_body)
    }

    /// What the gateway says of it: the last member of `Cache-Status`, after those of other caches.
    pub(crate) fn told(&self) -> Option<&str> {
        self.fields("cache-status").last()?.rsplit(", ").next()
    }
}

/// All the answers on a connection, in order; what is left is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) answers: Vec<Answer>,
    pub(crate) rest: String,
}

/// Reads all that came on a connection until its end, from requests with these methods.
pub(crate) fn heard(bytes: &[u8], methods: &[&str]) -> Heard {
    let mut heard = Heard::default();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n\r\n") {
        let head = decoded(&rest[..end]);
        let Some(status) = head.strip_prefix("HTTP/1.").and_then(|head| head.get(2..5)) else {
            break;
        };
        let Ok(status) = status.parse::<u16>() else { break };
        rest = &rest[end + 4..];
        if (100..200).contains(&status) {
            continue;
        }
        let mut answer = Answer { status, head, body: String::new(), whole: false };
        let to_head = methods.get(heard.answers.len()) == Some(&"HEAD");
        let (body, left, whole) = body(&answer, to_head, rest);
        (answer.body, rest, answer.whole) = (decoded(&body), left, whole);
        heard.answers.push(answer);
    }
    heard.rest = decoded(rest);
    heard
}

/// The body, what follows it, and whether it is whole.
fn body<'a>(answer: &Answer, to_head: bool, bytes: &'a [u8]) -> (Vec<u8>, &'a [u8], bool) {
    if to_head || matches!(answer.status, 204 | 304) {
        return (Vec::new(), bytes, true);
    }
    if answer.field("transfer-encoding").is_some() {
        return chunks(bytes);
    }
    match answer.field("content-length").map(|length| length.parse::<usize>()) {
        Some(Ok(length)) if length <= bytes.len() => {
            (bytes[..length].to_vec(), &bytes[length..], true)
        }
        Some(_) => (bytes.to_vec(), &[], false),
        None => (bytes.to_vec(), &[], true),
    }
}

/// The same of a body in chunks.
pub(crate) fn chunks(mut bytes: &[u8]) -> (Vec<u8>, &[u8], bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return (body, &[], false) };
        let size = decoded(&bytes[..end]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let Ok(size) = size else { return (body, bytes, false) };
        bytes = &bytes[end + 2..];
        if size == 0 {
            // Trailers, up to an empty line.
            while let Some(end) = find(bytes, b"\r\n") {
                bytes = &bytes[end + 2..];
                if end == 0 {
                    return (body, bytes, true);
                }
            }
            return (body, &[], false);
        }
        if bytes.len() < size + 2 {
            body.extend(&bytes[..size.min(bytes.len())]);
            return (body, &[], false);
        }
        body.extend(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
