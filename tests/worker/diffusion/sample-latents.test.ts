import { describe, expect, test } from 'vitest';
import { UserError } from '../../../shared/errors.ts';
import { checkSampleRequest } from '../../../worker/diffusion/sample-latents.ts';
import { parseUnetConfig } from '../../../worker/networks/unet-config.ts';
import { parseVaeConfig } from '../../../worker/networks/vae.ts';
import { float32Tensor } from '../../../worker/runtime/session.ts';
import { tinyConfigs } from '../../support/tiny-models.ts';

type Request = Parameters<typeof checkSampleRequest>[1];

const vae = parseVaeConfig(tinyConfigs.vae);
const REQUEST: Request = { height: 64, width: 96, numInferenceSteps: 2, guidanceScale: 3 };
const tensor = (...dims: number[]) => float32Tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);
const image = tensor(1, 3, 64, 96);
const mask = tensor(1, 1, 64, 96);
const latents = tensor(1, 4, 8, 12);

function check(request: Partial<Request>, unet: 'unet-sd1' | 'unet-inpaint' = 'unet-sd1'): void {
  checkSampleRequest({ unet: parseUnetConfig(tinyConfigs[unet]), vae }, { ...REQUEST, ...request });
}

test.each<[string, Partial<Request>]>([
  ['nothing more', {}],
  ['guidance that is off', { guidanceScale: 0 }],
  ['an image', { image, strength: 0.01 }],
  ['an image and a mask', { image, mask, strength: 1 }],
  ['noise of its own', { latents }],
  ['noise of its own behind a mask', { latents, image, mask }],
])('request is accepted with %s', (_, request) => {
  expect(() => check(request)).not.toThrow();
});

describe('request is refused because', () => {
  test.each<[string, Partial<Request>]>([
    ['width and height must be multiples of 8, got 96 x 60', { height: 60 }],
    ['width and height must be multiples of 8, got 0 x 64', { width: 0 }],
    ['width and height must be multiples of 8, got 64.5 x 64', { width: 64.5 }],
    ['width and height must be multiples of 8, got 96 x -64', { height: -64 }],
    ['width and height must be multiples of 8, got 96 x NaN', { height: Number.NaN }],
    ['strength must be above 0 and at most 1, got 0', { image, strength: 0 }],
    ['strength must be above 0 and at most 1, got 1.1', { image, strength: 1.1 }],
    ['strength must be above 0 and at most 1, got NaN', { image, strength: Number.NaN }],
    ['the guidance scale must be 0 or more, got -1', { guidanceScale: -1 }],
    ['the guidance scale must be 0 or more, got NaN', { guidanceScale: Number.NaN }],
    ['the guidance scale must be 0 or more, got Infinity', { guidanceScale: Number.POSITIVE_INFINITY }],
    ['the guidance rescale must be from 0 to 1, got 2', { guidanceRescale: 2 }],
    ['a mask needs an image, got none', { mask }],
    ['the image must be [1, 3, 64, 96], got [1, 3, 96, 64]', { image: tensor(1, 3, 96, 64) }],
    ['the image must be [1, 3, 64, 96], got [1, 4, 64, 96]', { image: tensor(1, 4, 64, 96) }],
    ['the mask must be [1, 1, 64, 96], got [1, 1, 8, 12]', { image, mask: tensor(1, 1, 8, 12) }],
    ['latents and an image to start from exclude each other, got both', { latents, image }],
    ['latents must be [1,4,8,12], got [1,4,12,8]', { latents: tensor(1, 4, 12, 8) }],
  ])('%s', (message, request) => {
    expect(() => check(request)).toThrow(UserError);
    expect(() => check(request)).toThrow(`Cannot make the picture: ${message}`);
  });

  test('an inpainting model needs an image and a mask', () => {
    expect(() => check({ image, mask }, 'unet-inpaint')).not.toThrow();
    expect(() => check({ image }, 'unet-inpaint')).toThrow('an inpainting model needs an image and a mask, got none');
  });
});
