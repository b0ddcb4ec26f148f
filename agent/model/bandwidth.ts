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
