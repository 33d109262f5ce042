package vector

import (
	"context"

	"mastralambda/shared/mastra"
)

// Selected names entries of a namespace: by id, by ids or by a filter.
type Selected struct {
	VectorName string      `path:"vectorName" json:"-"`
	IndexName  string      `json:"indexName" minLength:"1" maxLength:"63"`
	Namespace  string      `json:"namespace,omitempty"`
	ID         string      `json:"id,omitempty"`
	IDs        []string    `json:"ids,omitempty"`
	Filter     mastra.JSON `json:"filter,omitempty"`
}

func (s Selected) selection() mastra.VectorSelection {
	which := mastra.VectorSelection{Namespace: s.Namespace, IDs: s.IDs}
	if s.ID != "" {
		which.IDs = append(which.IDs, s.ID)
	}
	if given(s.Filter) {
		which.Filter = s.Filter
	}
	return which
}

// Changed says how many entries a change concerned.
type Changed struct {
	Success bool `json:"success"`
	Count   int  `json:"count"`
}

// UpdateInput changes entries: what is absent stays, metadata takes the place of what was there.
type UpdateInput struct {
	Selected
	Update struct {
		Vector   []float32   `json:"vector,omitempty" minItems:"1"`
		Metadata mastra.JSON `json:"metadata,omitempty"` // an object
	} `json:"update"`
}

// Update changes entries, all or none. An id that is not there is a CodeNotFound, a filter may match none.
func Update(ctx context.Context, m *mastra.Mastra, in UpdateInput) (Changed, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Changed{}, err
	}
	to := mastra.VectorUpdate{Values: in.Update.Vector}
	if given(in.Update.Metadata) {
		to.Metadata = in.Update.Metadata
	}
	n, err := store.Update(ctx, in.IndexName, in.selection(), to)
	return Changed{true, n}, err
}

// Delete deletes entries, all or none. An id that is not there is a CodeNotFound, a filter may match none.
func Delete(ctx context.Context, m *mastra.Mastra, in Selected) (Changed, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Changed{}, err
	}
	n, err := store.Delete(ctx, in.IndexName, in.selection())
	return Changed{true, n}, err
}
