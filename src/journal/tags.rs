//! Which tags an answer has.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::Answered;

/// More tags than this, and the answer is not kept: it could not be invalidated by all of them.
const MOST_TAGS: usize = 64;

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

type Function = dyn Fn(&Answered<'_>) -> Vec<String> + Send + Sync;

/// Where tags are read: a field of the answer, `Cache-Tag`, and a function of one's own.
#[derive(Clone)]
pub(crate) struct Tags {
    field: HeaderName,
    function: Option<Arc<Function>>,
}

/// It has more tags than are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Tags {
    pub(crate) fn in_field(&mut self, field: HeaderName) {
        self.field = field;
    }

    pub(crate) fn by(
        &mut self,
        function: impl Fn(&Answered<'_>) -> Vec<String> + Send + Sync + 'static,
    ) {
        self.function = Some(Arc::new(function));
    }

    /// Whether these fields name tags.
    pub(crate) fn are_in(&self, fields: &HeaderMap) -> bool {
        fields.contains_key(&self.field) || fields.contains_key(CACHE_TAG)
    }

    /// Hands each tag of an answer to `tag`.
    pub(crate) fn read(
        &self,
        answered: &Answered<'_>,
        mut tag: impl FnMut(&[u8]),
    ) -> Result<(), TooMany> {
        let mut left = MOST_TAGS;
        let mut take = |found: &[u8]| {
            left = left.checked_sub(1).ok_or(TooMany)?;
            tag(found);
            Ok(())
        };
        // Both separators, in either field: origins mix them up, and no tag holds one.
        let separates = |byte: &u8| matches!(byte, b' ' | b'\t' | b',');
        let fields = answered.response;
        let also = (self.field != CACHE_TAG).then_some(CACHE_TAG);
        for field in std::iter::once(&self.field).chain(&also) {
            for line in fields.get_all(field).iter().map(HeaderValue::as_bytes) {
                for found in line.split(separates).filter(|tag| !tag.is_empty()) {
                    take(found)?;
                }
            }
        }
        if let Some(function) = &self.function {
            for found in function(answered) {
                take(found.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self { field: HeaderName::from_static("surrogate-key"), function: None }
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags").field("field", &self.field).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::{Method, StatusCode};

    use super::*;
    use crate::rfc9111::Exchange;

    fn read(tags: &Tags, lines: &[(&'static str, &str)]) -> Result<Vec<String>, TooMany> {
        let mut response = HeaderMap::new();
        for (name, value) in lines {
            response.append(*name, value.parse().expect("a value"));
        }
        let now = SystemTime::now();
        let answered = Answered {
            method: &Method::GET,
            request: &HeaderMap::new(),
            status: StatusCode::OK,
            response: &response,
            exchange: Exchange { sent: now, received: now },
        };
        let mut all = Vec::new();
        tags.read(&answered, |tag| all.push(String::from_utf8_lossy(tag).into_owned()))?;
        Ok(all)
    }

    #[test]
    fn tags_are_words_of_two_fields_and_what_a_function_says() {
        let mut tags = Tags::default();
        let lines = [("surrogate-key", "a  b"), ("cache-tag", "c, d,,e"), ("surrogate-key", "B")];
        assert_eq!(read(&tags, &lines), Ok(["a", "b", "B", "c", "d", "e"].map(Into::into).into()));
        tags.in_field(CACHE_TAG);
        tags.by(|answered| vec![format!("status {}", answered.status.as_u16())]);
        assert_eq!(read(&tags, &lines), Ok(["c", "d", "e", "status 200"].map(Into::into).into()));
    }

    #[test]
    fn more_than_64_are_too_many() {
        let line = |many: usize| (0..many).map(|tag| format!("t{tag} ")).collect::<String>();
        assert_eq!(
            read(&Tags::default(), &[("cache-tag", &line(64))]).map(|all| all.len()),
            Ok(64)
        );
        assert_eq!(read(&Tags::default(), &[("cache-tag", &line(65))]), Err(TooMany));
    }
}
