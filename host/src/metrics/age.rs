//! How long something has been waiting, counted when somebody looks: a figure
//! that is set when things change would stand still while nothing moves, which is
//! when it matters.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use tokio::time::Instant;

/// A gauge in seconds; 0 while nothing waits.
#[derive(Debug, Clone, Default)]
pub struct Age {
    since: Arc<Mutex<Option<Instant>>>,
}

impl Age {
    /// The longest wait began then; `None` if nothing waits.
    pub fn set(&self, since: Option<Instant>) {
        *self.lock() = since;
    }

    pub fn seconds(&self) -> f64 {
        self.lock().map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TypedMetric for Age {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Age {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.seconds())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_while_nobody_sets_it() {
        let age = Age::default();
        assert_eq!(age.seconds(), 0.0);
        age.set(Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(age.seconds(), 3.0);
        age.set(None);
        assert_eq!(age.seconds(), 0.0);
    }
}
