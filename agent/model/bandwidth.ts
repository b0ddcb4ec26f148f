/** How much an endpoint may send, or be sent. */
export interface BandwidthLimit {
  /** Bytes a second. */
  readonly rate: number;
  /** Nanoseconds that it may get ahead of its rate: so much may pass at once after a pause. */
  readonly depth: number;
}

/** Its limits by direction, from the endpoint's view; none where absent. */
export interface BandwidthLimits {
  readonly ingress?: BandwidthLimit;
  readonly egress?: BandwidthLimit;
}

export const NO_LIMITS: BandwidthLimits = {};

export const BANDWIDTH_DIRECTIONS = ['ingress', 'egress'] as const;

export function sameLimits(a: BandwidthLimits, b: BandwidthLimits): boolean {
  return BANDWIDTH_DIRECTIONS.every(
    (direction) => a[direction]?.rate === b[direction]?.rate && a[direction]?.depth === b[direction]?.depth,
  );
}

/** The bytes that may pass at once after a pause. */
export function burstBytes({ rate, depth }: BandwidthLimit): number {
  return Math.round((rate * depth) / 1e9);
}

/**
 * Longer than TCP's shortest retransmission timeout (200 ms): a sender that lost the end of a burst is silent for so long,
 * and still gets its rate on average, since so much is saved up meanwhile.
 */
export const DEPTH = 250_000_000;

/** An hour: what runtimes write when they mean any burst is many times that. */
const DEEPEST = 3_600_000_000_000;

/** @param burst bytes that may pass at once; {@link DEPTH} when absent */
export function limitOf(bitsPerSecond: number, burst?: number): BandwidthLimit {
  const rate = Math.floor(bitsPerSecond / 8);
  return { rate, depth: burst === undefined ? DEPTH : Math.min(DEEPEST, Math.round((burst / rate) * 1e9)) };
}
