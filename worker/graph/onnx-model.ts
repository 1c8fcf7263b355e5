import { create, toBinary } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from 'onnx-buf';
import type { OnnxAttribute, OnnxDtype, OnnxGraph, OnnxInitializer, OnnxValueInfo } from './onnx-graph.ts';

/**
 * CUDA kernels of ONNX Runtime 1.30 that are registered without an end version match only their own since-version;
 * at opset 18 every operator we emit still has its kernel.
 */
export const OPSET_VERSION = 18;
const IR_VERSION = 8;

/**
 * Encodes a graph as an ONNX ModelProto. External initializers are written with their absolute path less the leading
 * slash: the session must be given `/` as the folder of external data.
 */
export function encodeOnnxModel(graph: OnnxGraph): Uint8Array {
  const model = create(ModelProtoSchema, {
    irVersion: BigInt(IR_VERSION),
    producerName: 'sketchbooth',
    opsetImport: [
      create(OperatorSetIdProtoSchema, { domain: '', version: BigInt(OPSET_VERSION) }),
      create(OperatorSetIdProtoSchema, { domain: 'com.microsoft', version: 1n }),
    ],
    graph: encodeGraph(graph),
  });
  return toBinary(ModelProtoSchema, model);
}

function encodeGraph(graph: OnnxGraph): GraphProto {
  return create(GraphProtoSchema, {
    name: graph.name,
    node: graph.nodes.map(({ opType, domain, name, inputs, outputs, attributes }) =>
      create(NodeProtoSchema, {
        opType,
        domain,
        name,
        input: [...inputs],
        output: [...outputs],
        attribute: Object.entries(attributes).map(([key, attribute]) => encodeAttribute(key, attribute)),
      }),
    ),
    initializer: graph.initializers.map(encodeInitializer),
    input: graph.inputs.map(encodeValueInfo),
    output: graph.outputs.map(encodeValueInfo),
  });
}

function encodeAttribute(name: string, attribute: OnnxAttribute): AttributeProto {
  return create(AttributeProtoSchema, { name, ...attributeFields[attribute.type](attribute as never) });
}

type AttributeFields = Partial<Pick<AttributeProto, 'type' | 'i' | 'f' | 'ints' | 's' | 'g'>>;

const attributeFields: {
  [T in OnnxAttribute['type']]: (attribute: Extract<OnnxAttribute, { type: T }>) => AttributeFields;
} = {
  int: ({ value }) => ({ type: AttributeProto_AttributeType.INT, i: BigInt(value) }),
  float: ({ value }) => ({ type: AttributeProto_AttributeType.FLOAT, f: value }),
  ints: ({ value }) => ({ type: AttributeProto_AttributeType.INTS, ints: value.map(BigInt) }),
  string: ({ value }) => ({ type: AttributeProto_AttributeType.STRING, s: Uint8Array.from(Buffer.from(value)) }),
  graph: ({ value }) => ({ type: AttributeProto_AttributeType.GRAPH, g: encodeGraph(value) }),
};

const dataTypes: { [D in OnnxDtype]: TensorProto_DataType } = {
  float32: TensorProto_DataType.FLOAT,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int64: TensorProto_DataType.INT64,
  bool: TensorProto_DataType.BOOL,
};

function encodeInitializer({ name, dtype, dims, data }: OnnxInitializer): TensorProto {
  const common = { name, dims: dims.map(BigInt), dataType: dataTypes[dtype] };
  if (data instanceof Uint8Array) return create(TensorProtoSchema, { ...common, rawData: data });
  if (!data.file.startsWith('/')) {
    throw new Error(`Cannot refer to a weight file: the path must be absolute, got ${data.file}`);
  }
  const entries = { location: data.file.slice(1), offset: String(data.offset), length: String(data.sizeBytes) };
  return create(TensorProtoSchema, {
    ...common,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
  });
}

function encodeValueInfo({ name, dtype, dims }: OnnxValueInfo): ValueInfoProto {
  const shape = dims && {
    dim: dims.map((dim) => ({
      value:
        typeof dim === 'number'
          ? { case: 'dimValue' as const, value: BigInt(dim) }
          : { case: 'dimParam' as const, value: dim },
    })),
  };
  const tensorType = { elemType: dataTypes[dtype], ...(shape && { shape }) };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}
