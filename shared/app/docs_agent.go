package app

import (
	"mastralambda/shared/mastra"
	"mastralambda/shared/retrieval"
)

// An agent that retrieves: its tool finds the passages nearest to a question in the vector store, and the model answers
// from them. Ask it "How long do refunds take?".
var docsAgent = &mastra.Agent{
	ID:           "docsAgent",
	Name:         "Docs Agent",
	Description:  "Answers questions about the shop from its documents.",
	Instructions: "Answer from the passages that searchDocs finds, and from nothing else. Say so if they do not hold the answer.",
	Tools:        []mastra.Callable{searchDocs},
	// It keeps notes of each customer, in this form.
	Memory: &mastra.Memory{LastMessages: 10, WorkingMemory: &mastra.WorkingMemory{Template: "# Customer\n- Name:\n- Orders:\n- Complaints:\n"}},
}

var searchDocs = shopDocs.Tool("searchDocs", "Finds the passages of the shop's documents that are nearest to a question.")

// shopDocs is cut at its headings, and each part is found by what it says. The first question ingests the documents;
// shopDocs.Ingest puts in others, or the same ones anew, at any time.
var shopDocs = retrieval.Index{
	Name:      "docs",
	Chunking:  retrieval.Chunking{Strategy: retrieval.Markdown, MaxSize: 300},
	Documents: []retrieval.Document{{ID: "shop", Text: shop}},
}

// shop stands for what a real application would load from elsewhere.
const shop = `Refunds are paid back within five working days, to the card that the order was paid with.

## Shipping
Orders of more than 50 euros are shipped free of charge; below that shipping costs 4.90 euros.
A parcel takes two to three working days inside of the country and up to ten days abroad.

## Returns
Goods can be returned within 30 days if they are unused and in their original packaging.

## Support
The support team answers by mail at any time and by telephone from 9 to 17 o'clock on weekdays.
`
