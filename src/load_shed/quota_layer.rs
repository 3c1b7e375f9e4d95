//! A layer that charges its callers.

use std::{fmt, hash::Hash, sync::Arc};

use tokio::time::Instant;

use super::{
    LoadShedLayer,
    charge::{Charge, Charged},
    quota::{MOST_KEYS, Passed, Quotas, Rate},
};

/// A quota for each of whatever a key tells apart: see
/// [`LoadShedLayer::quota`](crate::LoadShedLayer::quota).
pub struct Quota<F, K> {
    key: F,
    rate: Rate,
    quotas: Arc<Quotas<K>>,
}

impl<R, C, Q> LoadShedLayer<R, C, Q> {
    /// Refuses what a caller asks beyond its quota: `rate` for each of whatever `key` tells apart, and
    /// none where it is `None`. A call that there is no room for is charged to nobody.
    ///
    /// Refusals have [`Reason::OverQuota`](crate::Reason::OverQuota): 429, or gRPC 8.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use seawall::{BoxError, LoadShedLayer, Reason, Rejected, load_shed::Rate};
    /// use tower::{Layer, Service, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), BoxError> {
    /// let by_tenant = |request: &Request<String>| request.headers().get("x-tenant").cloned();
    /// let layer = LoadShedLayer::default().quota(Rate::per_second(2), by_tenant);
    /// # let mut service = layer.layer(service_fn(|_: Request<String>| async {
    /// #     Ok::<_, BoxError>(Response::new(String::new()))
    /// # }));
    /// let call = || Request::get("/").header("x-tenant", "a").body(String::new());
    /// service.call(call()?).await?;
    /// service.call(call()?).await?;
    /// let error = service.call(call()?).await.unwrap_err();
    /// assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::OverQuota));
    /// # Ok(()) }
    /// ```
    pub fn quota<F, Req, K>(self, rate: Rate, key: F) -> LoadShedLayer<R, C, Quota<F, K>>
    where
        F: Fn(&Req) -> Option<K> + Clone,
        K: Eq + Hash,
    {
        let quotas = Arc::new(Quotas::new(rate, MOST_KEYS));
        self.map_charge(|_| Quota { key, rate, quotas })
    }
}

impl<R, C, F, K: Eq + Hash> LoadShedLayer<R, C, Quota<F, K>> {
    /// How many keys that owe something are known at once: 65,536 unless set, from 16 to 1,048,576.
    /// Beyond it a new key is not charged; the limit in flight holds for it as for all.
    #[must_use]
    pub fn most_keys(self, keys: usize) -> Self {
        self.map_charge(|Quota { key, rate, .. }| {
            let quotas = Arc::new(Quotas::new(rate, keys));
            Quota { key, rate, quotas }
        })
    }
}

impl<F, Req, K> Charge<Req> for Quota<F, K>
where
    F: Fn(&Req) -> Option<K> + Clone,
    K: Eq + Hash,
{
    fn charge(&self, request: &Req) -> Charged {
        let Some(key) = (self.key)(request) else {
            return Charged::Paid;
        };
        match self.quotas.check(key, Instant::now()) {
            Ok(Passed::Counted) => Charged::Paid,
            Ok(Passed::Uncounted) => Charged::Unknown,
            Err(wait) => Charged::OverQuota(wait),
        }
    }
}

impl<F: Clone, K> Clone for Quota<F, K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), rate: self.rate, quotas: Arc::clone(&self.quotas) }
    }
}

impl<F, K> fmt::Debug for Quota<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota").field("rate", &self.rate).finish_non_exhaustive()
    }
}
