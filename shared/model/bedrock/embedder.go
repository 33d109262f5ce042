package bedrock

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// Embedder is an embedding model: one of Amazon Titan or of Cohere. It is safe for concurrent use.
type Embedder struct {
	id        string
	dimension int
	client    *Client
	atOnce    int // texts of one request
	ask       func(texts []string, dimension int) any
}

var _ mastra.Embedder = (*Embedder)(nil)

// NewEmbedder makes the embedding model id, or that of an inference profile. Nothing is sent before the first Embed.
func NewEmbedder(id string, dimension int, c *Client) (*Embedder, error) {
	e := &Embedder{id: id, dimension: dimension, client: c, atOnce: 1}
	switch {
	case strings.Contains(id, "amazon.titan-embed-text-v1"):
		e.ask = func(texts []string, _ int) any { return titan{Text: texts[0]} }
	case strings.Contains(id, "amazon.titan-embed"):
		e.ask = func(texts []string, d int) any { return titan{Text: texts[0], Dimensions: d, Normalize: true} }
	case strings.Contains(id, "cohere.embed-v4"):
		e.atOnce = 96
		e.ask = func(texts []string, d int) any { return cohere{texts, "search_document", "END", d} }
	case strings.Contains(id, "cohere.embed"):
		e.atOnce = 96
		e.ask = func(texts []string, _ int) any { return cohere{texts, "search_document", "END", 0} }
	default:
		return nil, fmt.Errorf("embedding model %q: of Bedrock, those of amazon.titan-embed-… and cohere.embed-… are known", id)
	}
	return e, nil
}

type titan struct {
	Text       string `json:"inputText"`
	Dimensions int    `json:"dimensions,omitzero"`
	Normalize  bool   `json:"normalize,omitzero"`
}

// cohere has one kind for what is stored and one for what is searched with; both are embedded alike here.
type cohere struct {
	Texts     []string `json:"texts"`
	Kind      string   `json:"input_type"`
	Truncate  string   `json:"truncate"`
	Dimension int      `json:"output_dimension,omitzero"`
}

// vectors is an answer: Titan's one vector, Cohere's list, or its list by type.
type vectors struct {
	Embedding  []float32   `json:"embedding"`
	Embeddings mastra.JSON `json:"embeddings"`
}

// Dimension is the length of each vector.
func (e *Embedder) Dimension() int { return e.dimension }

const parallel = 8

// Embed makes a vector of each text.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	client, err := e.client.connect()
	if err != nil {
		return nil, upstream.Failure(ctx, "bedrock/"+e.id, 0, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make([][]float32, len(texts))
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for from := 0; from < len(texts) && ctx.Err() == nil; from += e.atOnce {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			some := texts[from:min(from+e.atOnce, len(texts))]
			made, err := e.embed(ctx, client, some)
			if err != nil {
				cancel(err)
				return
			}
			copy(out[from:], made)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

func (e *Embedder) embed(ctx context.Context, client *api.Client, texts []string) ([][]float32, error) {
	body, err := schema.Marshal(e.ask(texts, e.dimension))
	if err != nil {
		return nil, err
	}
	response, err := client.InvokeModel(ctx, &api.InvokeModelInput{ModelId: aws.String(e.id), Body: body,
		ContentType: aws.String("application/json"), Accept: aws.String("application/json")}, retrying(nil))
	if err != nil {
		return nil, failure(ctx, e.id, err)
	}
	made, err := read(response.Body)
	if err == nil && len(made) != len(texts) {
		err = fmt.Errorf("%w: %d vectors of %d texts", upstream.ErrMalformed, len(made), len(texts))
	}
	if err == nil {
		err = upstream.CheckVectors(made, e.dimension)
	}
	if err != nil {
		return nil, upstream.Failure(ctx, "bedrock/"+e.id, 0, err)
	}
	return made, nil
}

func read(body []byte) (list [][]float32, err error) {
	var v vectors
	var typed struct {
		Float [][]float32 `json:"float"`
	}
	err = schema.Unmarshal(body, &v)
	switch {
	case err != nil:
	case v.Embedding != nil:
		return [][]float32{v.Embedding}, nil
	case v.Embeddings.Kind() == '{':
		err = schema.Unmarshal(v.Embeddings, &typed)
		list = typed.Float
	default:
		err = schema.Unmarshal(v.Embeddings, &list)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", upstream.ErrMalformed, err)
	}
	return list, err
}
