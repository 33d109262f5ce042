package sqlite

import (
	"testing"

	"mastralambda/shared/storage/storagetest"
)

func TestThreadsAtRandom(t *testing.T) { storagetest.RunThreads(t, openNew(t), 60) }
func TestRunsAtRandom(t *testing.T)    { storagetest.RunRuns(t, openNew(t), 60) }
func TestScoresAtRandom(t *testing.T)  { storagetest.RunScores(t, openNew(t), 20) }
