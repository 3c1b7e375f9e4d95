//! Fields in a record: a head's, trailers, the names in a `Vary`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    rfc9111::vary::Names,
    store::bytes::{Damaged, Reader, Writer},
};

/// More fields than this no record has, in its head or in its trailers.
pub(super) const MOST_FIELDS: usize = 1024;

/// More fields than this tell no variants apart.
pub(super) const MOST_VARY_NAMES: usize = 64;

pub(super) fn write_names(out: &mut Writer, names: &Names) -> Option<()> {
    out.count(names.len(), MOST_VARY_NAMES)?;
    names.iter().try_for_each(|name| out.run(name.as_str().as_bytes()))
}

pub(super) fn read_names(from: &mut Reader<'_>) -> Result<Names, Damaged> {
    (0..from.count(5, MOST_VARY_NAMES)?).map(|_| read_name(from)).collect()
}

pub(super) fn write_fields<'a>(
    out: &mut Writer,
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Option<()> {
    let (at, mut count) = (out.0.len(), 0);
    out.u16(0);
    for (name, value) in fields {
        out.run(name.as_str().as_bytes())?;
        write_value(out, value)?;
        count += 1;
    }
    let count = u16::try_from(count).ok().filter(|_| count <= MOST_FIELDS)?;
    out.0.get_mut(at..at + 2)?.copy_from_slice(&count.to_be_bytes());
    Some(())
}

/// Fields, and room for some more.
pub(super) fn read_fields(from: &mut Reader<'_>, more: usize) -> Result<HeaderMap, Damaged> {
    let count = from.count(10, MOST_FIELDS)?;
    let mut fields = HeaderMap::with_capacity(if count == 0 { 0 } else { count + more });
    for _ in 0..count {
        let name = read_name(from)?;
        let value = read_value(from)?;
        fields.append(name, value);
    }
    Ok(fields)
}

fn read_name(from: &mut Reader<'_>) -> Result<HeaderName, Damaged> {
    HeaderName::from_bytes(from.run()?).map_err(|_| Damaged)
}

pub(super) fn write_value(out: &mut Writer, value: &HeaderValue) -> Option<()> {
    out.flag(value.is_sensitive());
    out.run(value.as_bytes())
}

pub(super) fn read_value(from: &mut Reader<'_>) -> Result<HeaderValue, Damaged> {
    let sensitive = from.flag()?;
    let mut value = HeaderValue::from_maybe_shared(from.kept()?).map_err(|_| Damaged)?;
    value.set_sensitive(sensitive);
    Ok(value)
}
