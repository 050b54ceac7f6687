namespace KvCuda.Tests.Reference;

/// <summary>Embed, EmbedAdd, Gather and Scatter of IBackend.</summary>
static class RowsReference
{
    /// <summary>x[r,:] = table[index[r],:], zeros for a negative index; with add, x[r,:] += that.</summary>
    public static void Embed(Matrix x, Matrix table, int[] index, bool add)
    {
        for (int row = 0; row < x.Rows; row++)
        {
            for (int i = 0; i < x.Columns; i++)
            {
                double value = index[row] < 0 ? 0 : table[index[row], i];
                x[row, i] = add ? x[row, i] + value : value;
            }
        }
    }

    /// <summary>y[r,:] = x[index[r],:]; zeros for a negative index (a padding row).</summary>
    public static void Gather(Matrix y, Matrix x, int[] index) => Embed(y, x, index, add: false);

    /// <summary>y[index[r],:] = x[r,:]; negative indices (padding rows) are skipped.</summary>
    public static void Scatter(Matrix y, Matrix x, int[] index)
    {
        for (int row = 0; row < x.Rows; row++)
        {
            if (index[row] >= 0)
            {
                x.Row(row).CopyTo(y.Row(index[row]));
            }
        }
    }
}
