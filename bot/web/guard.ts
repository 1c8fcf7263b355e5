/** What keeps other sites, other machines and injected content away from the page. */
import type { MiddlewareHandler } from 'hono';

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
};

export const securityHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
  if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-store');
};

/**
 * Lets through requests that the page itself makes. A page bound to this machine answers to this machine's names only,
 * so that no other site can reach it by pointing its own name here.
 */
export function sameOrigin({ isLocalOnly }: { isLocalOnly: boolean }): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header('host') ?? '';
    if (isLocalOnly && !/^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host)) {
      return c.json({ error: 'Cannot answer: this page is for this machine only' }, 421);
    }
    const isChange = c.req.method !== 'GET' && c.req.method !== 'HEAD';
    if (isChange && !isFromOwnPage(c.req.header('origin'), host)) {
      return c.json({ error: 'Cannot accept the request: it must come from the page itself' }, 403);
    }
    return next();
  };
}

function isFromOwnPage(origin: string | undefined, host: string): boolean {
  if (origin === undefined || !URL.canParse(origin)) return false;
  return new URL(origin).host === host;
}
